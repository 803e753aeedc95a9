"use strict";
// Sorting and filtering of tables, and the charts. Without it all texts and tables are there still.

for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const rows = [...body.rows];
      rows.sort((a, b) => compare(a.cells[column], b.cells[column], ascending ? 1 : -1));
      body.append(...rows);
    });
  });
}

// Numbers before texts, empty cells last in either direction.
function compare(a, b, sign) {
  const [x, y] = [a, b].map(cell => cell.dataset.value);
  if (x !== undefined && y !== undefined) return sign * (Number(x) - Number(y));
  if (x !== undefined || y !== undefined) return x !== undefined ? -1 : 1;
  const [s, t] = [a, b].map(cell => cell.textContent);
  if (!s || !t) return s ? -1 : t ? 1 : 0;
  return sign * s.localeCompare(t, "en", { numeric: true });
}

for (const input of document.querySelectorAll("[data-filter]")) {
  const id = input.dataset.filter, table = document.getElementById(id);
  const select = document.querySelector(`[data-state="${id}"]`), count = document.querySelector(`[data-count="${id}"]`);
  const state = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent === "state");
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every(word => text.includes(word)) && (!select.value || row.cells[state].textContent === select.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
  };
  input.closest(".filters").hidden = false;
  input.addEventListener("input", apply);
  select.addEventListener("input", apply);
  apply();
}

async function plotly() {
  const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

// Colours of the page, so that charts follow its light or dark scheme.
function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const [ink, line, paper] = ["--ink", "--line", "--paper"].map(name => style.getPropertyValue(name).trim());
  const out = {
    margin: { l: 60, r: 20, t: 20, b: 50 }, hovermode: "closest", dragmode: matchMedia("(pointer: fine)").matches ? "zoom" : false,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12 },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" }, ...structuredClone(layout),
  };
  for (const key of ["xaxis", "yaxis"]) out[key] = { gridcolor: line, zerolinecolor: line, linecolor: line, ...out[key] };
  for (const note of out.annotations ?? []) note.bgcolor = paper;
  return out;
}

async function draw() {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  if (!figures.length) return;
  await plotly();
  const plots = [...document.querySelectorAll("[data-figure]")];
  const options = { responsive: true, displayModeBar: false };
  for (const plot of plots) {
    const figure = figures[plot.dataset.figure];
    await Plotly.newPlot(plot, figure.data, themed(figure.layout), options);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const plot of plots) Plotly.relayout(plot, themed(figures[plot.dataset.figure].layout));
  });
  document.documentElement.dataset.drawn = plots.length;
}

draw().catch(error => {
  const trouble = document.getElementById("trouble");
  trouble.textContent = `The charts could not be drawn (${error.message}); texts and tables are complete.`;
  trouble.hidden = false;
});

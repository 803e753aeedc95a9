"""MODEL_CARD.md: what a packaged model is, on which data it was made, how good it is, and what is left to write."""

from itertools import chain, count
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from xlite.export.card_parts import (
    answers_to_checklists,
    data_text,
    decisions_text,
    labels_table,
    limits,
    making,
    model_table,
    parts_table,
    positives_table,
    scores_table,
    scores_text,
)
from xlite.export.facts import Measured, StudyFacts
from xlite.export.markdown import inert, table
from xlite.export.reporting import CLAIM, TODO, TRIPOD, checklist
from xlite.package.about import About
from xlite.package.card import CARD, is_untouched, promotion_of, sealed
from xlite.storage.files import write_text

_TEMPLATE = Path(__file__).with_name("card.md.jinja")


def write_card(folder: Path, about: About, facts: StudyFacts) -> list[str]:
    """Write the card, unless a person has changed or written the one of this promotion.

    A changed card of another promotion is kept beside it, under a name that is free: MODEL_CARD-before.md, ...

    Returns:
        Lines for a person.
    """
    text = card_text(about, facts, Measured.read(folder))
    there, lines = folder / CARD, []
    if there.is_file():
        card = there.read_text(encoding="utf-8", errors="replace")
        if not is_untouched(card):
            if promotion_of(card) in ("", about.promotion):
                return [f"{CARD} was changed by hand, so it stays as it is; remove it for a new one"]
            kept = _free(folder)
            there.rename(kept)
            lines = [f"{CARD} of the promotion before was changed by hand; it is {kept.name} now"]
    write_text(there, sealed(text, about.promotion))
    return lines


def card_text(about: About, facts: StudyFacts, measured: Measured) -> str:
    """The card, YAML header first; ends with a line break."""
    claim, tripod = (checklist(items, answers_to_checklists(about, facts, measured)) for items in (CLAIM, TRIPOD))
    kind = "labels that can occur together" if not about.exclusive else "classes that exclude each other"
    card = ModelCard.from_template(
        _header(about, facts, measured),
        template_path=str(_TEMPLATE),
        title=f"{inert(facts.task_title)}: {inert(measured.description['model']['backbone'])}",
        summary=f"A small image classifier of {len(about.labels)} {kind}, found by a search over knowledge "
        f"distillation (study {inert(facts.name)}) with X-Lite {about.versions['xlite']}.",
        standing="It has not been tested in care."
        + (
            " It was trained on drawn phantoms, not on patients: use it to try the software only."
            if facts.drawn
            else ""
        ),
        todo=TODO,
        task=inert(facts.task_title),
        model_table=model_table(about, facts, measured),
        data_text=data_text(facts),
        parts_table=parts_table(facts),
        positives_table=positives_table(about, facts, measured),
        scores_table=scores_table(facts, measured),
        scores_text=scores_text(facts, measured),
        labels_table=labels_table(about, measured),
        decisions_text=decisions_text(about, measured),
        limits=limits(facts, measured),
        making=making(about, facts, measured),
        versions_table=table(
            ("package", "trained with", "exported with"),
            [
                (inert(name), facts.versions.get(name, "-"), about.versions.get(name, "-"))
                for name in sorted({*facts.versions, *about.versions})
            ],
        ),
        claim=claim,
        tripod=tripod,
    )
    return str(card).rstrip() + "\n\n"


def _header(about: About, facts: StudyFacts, measured: Measured) -> ModelCardData:
    """YAML for the Hugging Face Hub; the score on test as an evaluation result."""
    metric = str(measured.metrics["metric"])
    result = EvalResult(
        task_type="image-classification",
        dataset_type=about.task,
        dataset_name=facts.task_title + (" (drawn phantoms)" if facts.drawn else ""),
        dataset_split="test",
        metric_type=metric,
        metric_value=measured.metrics["test"]["metrics"][metric],
    )
    return ModelCardData(
        model_name=facts.name,
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["medical-imaging", "knowledge-distillation", "xlite"],
        eval_results=[result],
    )


def _free(folder: Path) -> Path:
    names = (folder / f"MODEL_CARD-before{end}.md" for end in chain([""], (f"-{number}" for number in count(2))))
    return next(path for path in names if not path.exists())

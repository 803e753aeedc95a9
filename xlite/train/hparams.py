"""What TensorBoard's HParams tab shows: the columns of a study, the values of a run, and how the run ended.

TensorBoard takes the first description that it meets: of the columns from any run, of a run from its first file. So
each stands in a file of its own, which is replaced and never appended to.
"""

import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName, Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

COLUMNS, BEGIN, END, PICTURES = (f"events.out.tfevents.{name}" for name in ("columns", "0", "~", "~pictures"))
"""Files; of a run, BEGIN sorts before those of its curves and END and PICTURES after, as TensorBoard reads them."""
STATE, RUNG = "state", "rung"
STATES = ("complete", "pruned", "failed", "promoted")


def write_columns(folder: Path, choices: Mapping[str, Sequence[Any]], *, metric: str, more: Sequence[str] = ()) -> None:
    """Write the columns of all runs below `folder`; hyper-parameters that an earlier call named stay.

    Args:
        choices: hyper-parameter -> values it can have.
        metric: the task's; more: tags of what else is shown beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tags = (f"best/{metric}", *more, f"test/{metric}", RUNG)
    earlier = _earlier_columns(folder)
    parameters = _with_choices(earlier.hparam_infos if earlier else (), {STATE: STATES, **choices})
    _write_columns(folder, parameters, [MetricInfo(name=MetricName(tag=tag)) for tag in tags])


def add_columns(folder: Path, configurations: Iterable[Mapping[str, Any]]) -> None:
    """Add hyper-parameters and values that the columns of the runs below `folder` lack, from what the runs were given.

    TensorBoard shows no hyper-parameter that is no column, and one that few configurations have may be in none of the
    draws that the columns were made from. Where there are no columns at all it shows the keys of all runs.
    """
    earlier, choices = _earlier_columns(folder), defaultdict(list)
    for configuration in configurations:
        for key, value in configuration.items():
            choices[key].append(value)
    if earlier and (parameters := _with_choices(earlier.hparam_infos, choices)) != list(earlier.hparam_infos):
        _write_columns(folder, parameters, earlier.metric_infos)


def begin_run(folder: Path, hyper_parameters: Mapping[str, Any], *, state: str | None = None) -> None:
    """Write the values of a run that begins or continues.

    A running TensorBoard never reads them again, so that a state is written only once it is final.
    """
    (folder / END).unlink(missing_ok=True)
    shown = {key: _scalar(value) for key, value in hyper_parameters.items() if value is not None}
    write_events(folder / BEGIN, hparams_pb(shown | ({STATE: state} if state else {}), trial_id=""))


def end_run(
    folder: Path, hyper_parameters: Mapping[str, Any], *, state: str, epoch: int, scalars: Mapping[str, float]
) -> None:
    """Write how a run ended: one of STATES, and `scalars` at its last epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    begin_run(folder, hyper_parameters, state=state)
    status = Status.Value("STATUS_FAILURE" if state == "failed" else "STATUS_SUCCESS")
    info = SessionEndInfo(status=status, end_time_secs=time.time())
    ended = _summary(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info))
    ended.value.extend(Summary.Value(tag=tag, simple_value=float(value)) for tag, value in scalars.items())
    write_events(folder / END, ended, step=epoch)


def curve_files(folder: Path) -> list[Path]:
    """The files of a run that hold its curves, in the order in which they were written."""
    return sorted(
        file for file in folder.glob("events.out.tfevents.*") if file.name not in (COLUMNS, BEGIN, END, PICTURES)
    )


def _earlier_columns(folder: Path) -> Experiment | None:
    """The columns in `folder`; None where there are none, or what is there is damaged."""
    file = folder / COLUMNS
    for event in EventFileLoader(str(file)).Load() if file.exists() else ():
        for value in event.summary.value:
            return metadata.parse_experiment_plugin_data(value.metadata.plugin_data.content)
    return None


def _with_choices(infos: Iterable[HParamInfo], choices: Mapping[str, Sequence[Any]]) -> list[HParamInfo]:
    """Columns, with further ones and further values of those that are there."""
    every: dict[str, list[Any]] = {}
    for info in infos:
        limits = [info.domain_interval.min_value, info.domain_interval.max_value]
        every[info.name] = list(info.domain_discrete) or limits
    for key, values in choices.items():
        if known := [_scalar(value) for value in values if value is not None]:
            every[key] = [*every.get(key, []), *known]
    return [_info(key, values) for key, values in every.items()]


def _write_columns(folder: Path, infos: Iterable[HParamInfo], metrics: Iterable[MetricInfo]) -> None:
    experiment = Experiment(hparam_infos=infos, metric_infos=metrics, time_created_secs=time.time())
    write_events(folder / COLUMNS, _summary(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)))


def _info(key: str, values: Sequence[Any]) -> HParamInfo:
    info = HParamInfo(name=key, differs=len(set(values)) > 1)
    if any(isinstance(value, str) for value in values):
        info.type = DataType.Value("DATA_TYPE_STRING")
        info.domain_discrete.extend(sorted({str(value) for value in values}))
    elif all(isinstance(value, bool) for value in values):
        info.type = DataType.Value("DATA_TYPE_BOOL")
        info.domain_discrete.extend(sorted(set(values)))
    else:
        info.type = DataType.Value("DATA_TYPE_FLOAT64")
        info.domain_interval.min_value, info.domain_interval.max_value = min(values), max(values)
    return info


def _scalar(value: Any) -> bool | int | float | str:
    """The value as TensorBoard takes it; a list is shown as text."""
    return value if isinstance(value, bool | int | float | str) else str(value)


def _summary(tag: str, content: HParamsPluginData) -> Summary:
    out = Summary()
    out.value.add(tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR)
    return out


def write_events(file: Path, summary: Summary, *, step: int = 0) -> None:
    """Replace a file of events, in a folder that is there; what is lost with the machine is written again.

    Its temporary name is no other writer's, and none that TensorBoard reads: that is any with "tfevents" in it.
    """
    content = BytesIO()
    records = RecordWriter(content)
    for event in (Event(file_version="brain.Event:2"), Event(step=step, summary=summary)):
        event.wall_time = time.time()
        records.write(event.SerializeToString())
    temporary = file.with_name(f".hparams.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_bytes(content.getvalue())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)

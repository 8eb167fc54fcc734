"""What kernel/run.h declares, field by field: change both together."""

from __future__ import annotations

from ctypes import CFUNCTYPE, POINTER, Structure, c_double, c_int64, c_void_p
from typing import Any, ClassVar

COLUMNS = 16
ROUNDS, ROWS, OPERATIONS, LOADS, TABLES = range(5)
DONE, STOPPED = 0, 1  # how a run ends; what is more it could not do
ASKED, FIRST, SECOND, THIRD = range(4)  # a policy's rule; ASKED: Python's
COMPLETED, REJECTED, CANCELLED, UNFINISHED = range(4)
TRANSFER = 4  # beside the kinds of operations

_whole = POINTER(c_int64)
_float = POINTER(c_double)


def _fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class Table(Structure):
    _fields_: ClassVar = [
        *_fields(c_int64, "rows room columns"),
        ("width", c_int64 * COLUMNS),
        ("column", c_void_p * COLUMNS),
    ]


class Pool(Structure):
    _fields_: ClassVar = _fields(c_int64, "full keeps block_tokens blocks slots free_blocks free_slots")


class Model(Structure):
    _fields_: ClassVar = [
        *_fields(c_double, "overhead_s operation_s kernels kv_s query_s pair_s"),
        *_fields(c_double, "prompt_kv_s prompt_query_s prompt_pair_s row_s merge_values merge_bandwidth"),
        *_fields(c_int64, "graphs size"),
        *_fields(c_void_p, "body output"),
    ]


class Costs(Structure):
    _fields_: ClassVar = [
        *_fields(c_int64, "number formula label linked link_bytes"),
        *_fields(c_double, "link_latency link_bandwidth"),
        ("models", POINTER(Model)),
    ]


class Cell(Structure):
    _fields_: ClassVar = _fields(c_double, "tokens head") + _fields(c_void_p, "values")


class Fit(Structure):
    _fields_: ClassVar = [
        *_fields(c_int64, "number known points is_law waits knots"),
        *_fields(c_double, "min_tokens max_tokens min_kv max_kv max_context"),
        ("coefficients", c_double * 6),
        *_fields(c_double, "kv_s query_s pair_s"),
        *_fields(c_void_p, "measured knot cells"),
    ]


class Profiled(Structure):
    _fields_: ClassVar = [
        ("prompt_graphs", c_int64),
        *_fields(POINTER(Fit), "prefill verify catch_up first later"),
        *_fields(c_void_p, "step_rows verify_tokens transfer_s"),
    ]


class Decompositions(Structure):
    _fields_: ClassVar = [
        *_fields(c_int64, "align shortest longest"),
        *_fields(c_void_p, "marked key keys known"),
    ]


class Packing(Structure):
    _fields_: ClassVar = _fields(c_int64, "kind rows piece queries kv real_queries real_kv")


CALLBACKS: dict[str, Any] = {
    "ask_pass": CFUNCTYPE(c_double, c_int64, c_int64, c_int64, c_int64),
    "ask_cost": CFUNCTYPE(c_double, c_int64, c_int64, c_int64, _whole, _whole, _whole),
    "ask_fit": CFUNCTYPE(c_void_p, c_int64, c_double, c_double),
    "ask_host": CFUNCTYPE(None, c_int64),
    "ask_factor": CFUNCTYPE(c_double, c_int64, c_int64),
    "ask_noise": CFUNCTYPE(c_double, c_int64),
    "ask_runs": CFUNCTYPE(None, c_int64, c_int64),
    "ask_depth": CFUNCTYPE(c_int64),
    "select": CFUNCTYPE(c_int64, c_int64, _whole, c_int64, c_int64),
    "assign": CFUNCTYPE(None, c_int64, _whole, _whole),
    "ask_lengths": CFUNCTYPE(None, c_int64, _whole, _whole, _whole),
    "plan": CFUNCTYPE(None, c_int64, _whole, _whole, POINTER(Packing)),
    "observe": CFUNCTYPE(None, c_int64, _whole, _whole, _whole, _whole, _whole, _float, c_double, c_double),
    "think": CFUNCTYPE(None),
    "observe_pipeline": CFUNCTYPE(None, c_int64, c_int64),
    "forget": CFUNCTYPE(None, c_int64),
    "flush": CFUNCTYPE(None, c_int64, c_int64),
    "report": CFUNCTYPE(None, c_int64),
}


class Run(Structure):
    _fields_: ClassVar = [
        *_fields(c_int64, "requests clients"),
        *_fields(c_void_p, "arrival_ns prompt patience_ns output"),
        *_fields(c_int64, "drafts lanes devices target_lane batch context chunk max_length overlapped grow"),
        ("prompts_beside", c_int64),
        *_fields(c_void_p, "draft_lane remote lane_devices beside"),
        *_fields(POINTER(Pool), "target_pool pools"),
        ("decompositions", POINTER(Decompositions)),
        ("profiled", POINTER(Profiled)),
        *_fields(POINTER(Costs), "costs loads"),
        *_fields(c_int64, "law among compensated"),
        *_fields(c_double, "gap crowd short_s wait"),
        *_fields(c_void_p, "factors host_s handle_s host_ns"),
        *_fields(c_int64, "hosts handles noisy hop_ns wake_ns"),
        *_fields(c_int64, "admission selector length packing pipeline composition depth max_depth"),
        *_fields(
            c_int64,
            "listening thinking",
        ),
        *_fields(c_int64, "fixed_draft fixed_capacity arms allow_none reward packing_kind"),
        *_fields(c_void_p, "lengths rectangular merged"),
        *_fields(c_double, "explore weight stay"),
        *_fields(c_void_p, "wanted runs arrived_ns admitted_ns first_token_ns finished_ns"),
        *_fields(c_void_p, "generated rounds drafted accepted switches catch_up preemptions last_draft slot"),
        *_fields(c_void_p, "cached status place"),
        ("tables", Table * TABLES),
        ("label_s", c_double * 8),
        ("orchestrator_s", c_double),
        *_fields(c_int64, "report_every arrived ended ended_ns last_arrival_ns now_ns stop"),
        *CALLBACKS.items(),
    ]


CELLS = 1024
DECOMPOSITIONS = 16384
SIZES = (
    Table,
    Pool,
    Model,
    Costs,
    Packing,
    Fit,
    Profiled,
    Cell,
    Decompositions,
    Run,
)  # in the order of layout() in kernel/kernel.c


def address(array: Any) -> int:
    """Of a numpy array's first element."""
    return int(array.ctypes.data)

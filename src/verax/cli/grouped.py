"""Commands with many options: the options are the fields of records, the command gets records."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer takes it: a parameter that is a record becomes one option per field.

    Fields are `Annotated[type, typer.Option(...)]` with a default.
    """
    flat: list[inspect.Parameter] = []
    records: dict[str, tuple[Any, list[str]]] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        kind = parameter.annotation
        if not is_dataclass(kind):
            flat.append(parameter)
            continue
        hints = get_type_hints(kind, include_extras=True)
        records[name] = kind, [field.name for field in fields(kind)]
        for field in fields(kind):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            flat.append(
                inspect.Parameter(
                    field.name, parameter.kind, default=default, annotation=hints[field.name]
                )
            )

    def run(**values: Any) -> None:  # noqa: ANN401
        for name, (kind, names) in records.items():
            values[name] = kind(**{field: values.pop(field) for field in names})
        command(**values)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    return run

"""Fields of dataclasses that are options of commands, too, and what is meant by names that neither takes.

It imports nothing of this package, so that the command line starts at once.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import field
from difflib import get_close_matches
from dis import opmap
from functools import cache, partialmethod, wraps
from inspect import Parameter, Signature, isfunction, signature, unwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, cast, get_args, get_origin

_F = TypeVar("_F", bound="Callable[..., Any]")
_HOLDERS = {"feature": "DNAExtractor", "reading": "Reading"}  # classes whose arguments are given within an argument
_TAKERS: dict[str, list[str]] = {}  # functions and methods that take an argument, by its name
# kinds of arguments as errors have them, by their names in annotations; public classes add theirs
_KINDS = {"bool": "a bool", "int": "an integer", "float": "a number", "str": "a text", "Tensor": "a tensor"}
_KINDS |= {"PathLike": "a path", "Names": "a list of names", "Sequence": "a list", "Mapping": "a dict", "None": "None"}
_CLASSES: dict[str, type] = {}  # the public ones, by name
_MOST_TAKERS = 3  # that are named
_SETS = ("a", "b", "images", "reference", "sets")  # first arguments that are sets
# methods by which values of other types are such
_LIKE = {"int": "__index__", "float": "__float__", "PathLike": "__fspath__", "Mapping": "keys"}
_LIKE |= {"Names": "__iter__", "Sequence": "__iter__"}
# that a public class refuses, unless it has them
_SYMBOLS, _METHODS = "+ - * / < > [] round() float()", "add sub mul truediv lt gt getitem round float"
_LONG = 10  # characters of a name that may differ by more
_LONGEST = 80  # characters of a value in an error


def option(default: Any, group: str, text: str, *, rare: bool = False) -> Any:
    """Return a field that the help of a command shows with this text in a group; a rare one in ``--help-all`` alone."""
    return field(default=default, metadata={"group": group, "help": text, "rare": rare})


@cache
def _by_name() -> dict[str, list[str]]:
    """Return what is meant by names that other programs and libraries have, of the table.

    A record has after a colon names of ours, perhaps with a value, or a sentence, after "=" or, if it is true only of
    what takes sets of images, "~". The first that a command, a function or an object has is meant.
    """
    lines = Path(__file__).with_name("meant.txt").read_text(encoding="utf-8").splitlines()
    records = [line.partition(": ") for line in lines]
    return {name: ours.split(" | ") for names, _, ours in records for name in names.split()}


def meant(
    name: str, taken: Collection[str], written: Callable[[str, str], str], marks: str = "=~", elsewhere: str = ""
) -> str:
    """Return what is meant by a name that is not taken, of those that are, or a sentence; empty if nothing is.

    Args:
        name: Name of an option or an argument.
        taken: Names that are taken, with underscores.
        written: Function that writes one of them with a value, which may be empty.
        marks: Marks of the sentences that may take the place of a name.
        elsewhere: What is returned rather than what words of the name mean.

    Example:
        >>> meant("model", ["feature"], lambda name, value: f"{name}={value}"), meant("colum", ["column"], str.__add__)
        ('feature=', 'column')

    """
    plain = name.strip("-").replace("-", "_").lower()

    def of(part: str, marks: str = marks) -> str:
        for ours in [part] if part in taken else _by_name().get(part, []):
            argument, _, value = ours.partition(" ")
            if argument in taken:
                return written(argument, value)
            if ours[0] in marks:
                return ours[1:]
        return ""

    words = plain.split("_")
    close = get_close_matches(plain, taken, 1, 0.8 if len(plain) < _LONG else 0.7)  # compile is no copies
    close += [each for each in taken if each.startswith(f"{plain}_") or each.endswith(f"_{plain}")]
    count = len(words)  # of which the last says most; a first one alone is a verb, such as of "save_plot"
    parts = ["_".join(part) for k in range(1, count) for part in (words[k:], words[:-k]) if len(part) > 1]
    parts += [words[-1], *([words[0]] if words[0] in taken else [])]
    parts = [part for part in parts if len(part) > 2]
    short = [each for each in taken if re.fullmatch("-[a-z]", name) and each.startswith(plain)]
    first, then = ([written(each, "") for each in names] for names in (short, close))
    return next(filter(None, (of(plain, ""), *first, of(plain), *then, elsewhere, *map(of, parts))), "")


def names_in(text: str) -> list[str]:
    """Split a list of names at commas, semicolons and spaces; quotes and brackets may be around them.

    Example:
        >>> names_in("dna-emd, 'fd';kid")
        ['dna-emd', 'fd', 'kid']

    """
    return re.split(r"[][,;'\"\s]+", text.strip(",;[]'\" \n"))


def brief(value: object) -> str:
    """Return a value in one short line: of a long one its type, with its shape or length.

    Example:
        >>> brief("x"), brief(list(range(100)))
        ("'x'", 'a list of 100')

    """
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    kind = f"a{'n' * (kind[0] in 'AEIOUaeiou')} {kind}"
    if isinstance(shape, tuple):
        return f"{kind} of shape {tuple(shape)}"
    text = " ".join(repr(value).split())
    if len(text) <= _LONGEST:
        return text
    size = f" of {len(value)}" if isinstance(value, Sized) else ""
    return f"{text[:_LONGEST]}..." if isinstance(value, str) else f"{kind}{size}"


def check_keywords(
    function: Callable[..., Any], options: Collection[str], error: type[Exception] = TypeError, owner: str = ""
) -> None:
    """Raise an error for arguments that a function does not take, with what is meant, or else those that it takes."""
    own = [name for name, each in signature(function).parameters.items() if each.kind is not Parameter.VAR_KEYWORD]
    if not (wrong := [name for name in options if name not in own]):
        return
    inner = {
        name: (argument, kind)
        for argument, kind in _HOLDERS.items()
        if argument in own
        if kind in _CLASSES
        for name in signature(_CLASSES[kind]).parameters
    }

    def written(name: str, value: str) -> str:
        passed = f"{name}={repr(value) if value else '...'}"
        argument, kind = (None, None) if name in own else inner[name]
        return f"did you mean `{passed}`?" if kind is None else f"did you mean `{argument}={kind}({passed})`?"

    owner = owner or function.__qualname__.partition(".")[0]
    of_owner = signature(_CLASSES[owner]).parameters if owner in _CLASSES else ()
    takers = [owner] if wrong[0] in of_owner else [*dict.fromkeys(_TAKERS.get(wrong[0], []))]
    elsewhere = f"{' and '.join(takers)} take{'s' * (len(takers) == 1)} it" if 0 < len(takers) <= _MOST_TAKERS else ""
    listed = f"it takes {', '.join(name for name in own if name != 'self')}"
    marks = "=~" if own[0] in _SETS else "="
    remedy = meant(wrong[0], own, written, "") or meant(wrong[0], [*own, *inner], written, marks, elsewhere)
    raise error(f"{_called(function)} got an unexpected keyword argument {wrong[0]!r}; {remedy or listed}")


def _called(function: Callable[..., Any], *args: Any) -> str:
    owner, _, name = function.__qualname__.rpartition(".")
    owner = type(args[0]).__name__ if owner and args else owner  # which may be a subclass
    return f"{owner}.{name}()".removeprefix(".").replace(".__init__", "")


class _Kind:
    """Kind of an argument by its annotation: a literal value, or of a known class."""

    def __init__(self, annotation: str, function: Callable[..., Any]) -> None:
        inline = re.match(r"Literal\[(.*?)\]", annotation)
        self.values = inline[1].replace('"', "'").split(", ") if inline else []
        owner = function.__qualname__.partition(".")[0]
        annotation = re.sub(r"\bSelf\b", owner, annotation.replace("Sequence[str", "Names[str"))
        while "[" in annotation:
            annotation = re.sub(r"\[[^\[\]]*\]", "", annotation)
        kinds = [each.rpartition(".")[2] for each in annotation.split(" | ")]
        if get_origin(of_name := unwrap(function).__globals__.get(kinds[0])) is Literal:
            self.values = [*map(repr, get_args(of_name))]
        kinds = kinds[bool(self.values) :]
        self.is_known = _KINDS.keys() >= {*kinds}
        self.seen: set[type] = set()  # types of values that are of a kind
        self.classes = [_CLASSES[each] for each in kinds if each in _CLASSES]
        # what is nearly right, as a DNA of another kind, is told by the function
        bases = [base for each in self.classes if hasattr(each, "made_by") for base in each.__mro__]
        near = [base.__name__ for base in bases if Public not in base.__bases__]
        self.names = {*kinds, *(_CLASSES.keys() & near)}
        shown = [_KINDS.get(each, "") for each in kinds if each != "str" or "PathLike" not in kinds]
        shown = [", ".join(shown[:-1])] * (len(shown) > 1) + shown[-1:]
        self.expected = f"one of {', '.join(self.values)}" if self.values else " or ".join(shown)

    def has(self, value: Any) -> bool:
        """Return whether a value is one of a kind."""
        kind, is_plain = type(value), value is None or isinstance(value, (bool, Public))
        its = {"None" if value is None else each.__name__ for each in kind.__mro__[: None if kind is not bool else 1]}
        its |= {each for each, method in _LIKE.items() if not is_plain and hasattr(kind, method)}
        its -= {"Names", "Sequence"} if "Mapping" in its else {"Sequence"} if kind is str else set()
        its -= {"int"} if "Tensor" in its else set()
        if not self.is_known or not its.isdisjoint(self.names):
            self.seen.add(kind)
        return kind in self.seen or brief(value) in self.values


class Checks:
    """Checks of calls of a function: of values by their annotations, of plain kinds, public classes and literals."""

    def __init__(self, function: Callable[..., Any], own: Signature, documents: str = "") -> None:
        self.function, self.own, self.kinds, self.documents = function, own, dict[str, _Kind](), documents
        by_place = [name for name, each in own.parameters.items() if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
        self.order = ", ".join(name for name in by_place if name not in ("self", "cls"))
        for name in own.parameters if function.__name__ != "__init__" else ():  # classes have _HOLDERS
            _TAKERS.setdefault(name, []).append(_called(function))

    def values(self, args: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Raise an error for an argument, by place or by name, that its annotation excludes."""
        if not self.kinds:  # not before there is all that annotations speak of
            for name, each in self.own.parameters.items():
                annotation = "" if each.kind is Parameter.POSITIONAL_ONLY else str(each.annotation)
                self.kinds[name] = _Kind(annotation, self.function)
        for name, value in (*zip(self.kinds, args, strict=False), *options.items()):
            kind = self.kinds.get(name)
            if kind is None or type(value) in kind.seen or kind.has(value):
                continue
            made_by = [f"; {each.made_by} gives one" for each in kind.classes if hasattr(each, "made_by")]
            its = getattr(value, name, None) if isinstance(value, Public) else None
            made_by += ["; the figure that it returns has `savefig`"] * (self.function.__name__ == "plot")
            remedy = "".join(made_by[:1]) if its is None or not kind.has(its) else f"; give its `{name}`"
            is_one_by_one = isinstance(value, list) and self.own.parameters[name].kind is Parameter.VAR_POSITIONAL
            remedy = "; give them one by one" if is_one_by_one else remedy
            remedy += f"; the order is {self.order}" if name not in options and ", " in self.order else ""
            remedy = remedy or ("" if kind.values else self._documented(name))
            error = TypeError if kind.classes else ValueError
            raise error(f"Argument `{name}` expected to be {kind.expected}, but got {brief(value)}{remedy}")

    def _documented(self, name: str) -> str:
        """Return the beginning of what the documents say of an argument."""
        owner = _CLASSES.get(self.function.__qualname__.partition(".")[0], object)
        documents = "\n".join(filter(None, (self.function.__doc__, owner.__doc__, self.documents)))
        said = re.search(rf"^ +{name}: (.+?)(?:[.;:]\s|\.?$)", f"{documents}\n", re.MULTILINE | re.DOTALL)
        return f"; {name}: {' '.join(re.sub(':[a-z]+:|~|`(?=`)', '', said[1]).split())}" if said else ""

    def names(self, args: Sequence[Any], options: Mapping[str, Any], error: Exception | None = None) -> None:
        """Raise an error for arguments that are missing or too many, or whose names are not taken."""
        kinds = [each.kind for each in self.own.parameters.values()]
        if Parameter.VAR_KEYWORD not in kinds:
            owner = type(args[0]).__name__ if "self" in self.own.parameters and args else ""
            check_keywords(self.function, options, owner=owner)
        makes = self.function.__name__ == "__init__"  # a metric, with torchmetrics' kind of error
        is_own = not makes or unwrap(type(args[0]).__init__) is unwrap(self.function)
        if is_own and str(error).startswith("Unexpected keyword"):
            unexpected = [name for name in options if f"`{name}`" in str(error)]
            check_keywords(self.function, unexpected, ValueError if makes else TypeError)
        try:
            self.own.bind(*args, **options)
        except TypeError as err:
            order, by_name = self.order or "nothing", ", and all else by name" * (Parameter.KEYWORD_ONLY in kinds)
            raise TypeError(f"{_called(self.function, *args)}: {err}; it takes {order}{by_name}") from None


def named(function: _F) -> _F:
    """Let a function tell what is meant by an argument that it does not take, and of which kind one has to be."""

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        checks.values(args, options)
        try:
            return function(*args, **options)
        except (TypeError, ValueError) as err:  # perhaps of the call itself: to bind each would take longer
            checks.names(args, options, err)
            raise

    checks = Checks(function, signature(function))
    return cast("_F", called)


class Public:
    """Base of public classes: what is wrong in the use of one is told with what is meant, or else with all that it has.

    That is names of attributes, arguments of its constructor and its methods, and operators.
    """

    __slots__ = ()
    #: Names and operators that users guess, with what to use in their place.
    guessed: ClassVar[dict[str, str]] = {"p": "p_value", "to_json": "to_dict()"}

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        _CLASSES[cls.__name__] = cls
        _KINDS[cls.__name__] = f"a{'n' * (cls.__name__[0] in 'AEIOU')} {cls.__name__}"
        for name, method in vars(cls).copy().items():
            plain = getattr(method, "__func__", method)  # of a class method
            if name[0] != "_" and isfunction(plain):
                wrapped = named(plain)
                setattr(cls, name, wrapped if plain is method else type(method)(wrapped))
        for symbol, operator in zip(_SYMBOLS.split(), (f"__{each}__" for each in _METHODS.split()), strict=True):
            if getattr(cls, operator, None) is getattr(object, operator, None):
                setattr(cls, operator, partialmethod(cls._refuse, symbol))

    if not TYPE_CHECKING:  # by which it would have all attributes, and take all arguments

        def __new__(cls, *_: Any, **__: Any) -> Self:
            """Let the constructor check its arguments."""
            if not hasattr(cls.__init__, "__wrapped__"):  # that of a dataclass is not there before
                cls.__init__ = named(cls.__init__)
            return super().__new__(cls)

        def __getattr__(self, name: str) -> Any:
            if not (is_property := hasattr(type(self), name)):
                with suppress(AttributeError):
                    return super().__getattr__(name)  # of a module of torch
            if is_property or name[0] == "_":
                return object.__getattribute__(self, name)  # with its own error, or Python's
            message = f"{type(self).__name__!r} has no attribute {name!r}; {self._meant(name)}"
            raise AttributeError(message, name=name, obj=self)

    def _meant(self, name: str) -> str:
        """Return what is meant by a name or an operator."""
        if name in self.guessed:
            return f"use `{self.guessed[name]}`"
        classes = [vars(each) for each in type(self).__mro__ if each.__module__.startswith(__package__)]
        own = [key for of in classes for key, each in of.items() if hasattr(each, "__get__")]
        if not hasattr(type(self), "compute"):  # a metric has torchmetrics' own
            own += getattr(self, "__dict__", ())
        own = [each for each in dict.fromkeys(own) if each[0] != "_"]
        return meant(name, own, lambda ours, _: f"did you mean `{ours}`?", "") or f"it has {', '.join(own)}"

    def _refuse(self, symbol: str, *_: Any) -> Any:
        raise TypeError(f"{type(self).__name__!r} takes no `{symbol}`; {self._meant(symbol)}")


def no_key(key: object, keys: Iterable[object]) -> KeyError:
    """Return the error for a key that is not one of these."""
    return KeyError(f"There is no {key!r} here; there are {', '.join(map(str, keys))}")


class Keyed(dict[str, Any]):
    """A dict of results, of which an error says which keys there are."""

    def __missing__(self, key: object) -> Any:
        raise no_key(key, self)


def warn(text: str) -> None:
    """Warn at the line by which a user called this package, for which Python shows equal warnings once."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


def lazily(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package that imports names of its stub on first use."""
    import lazy_loader  # type: ignore[import-untyped]

    get, listed, names = lazy_loader.attach_stub(package, file)
    return lacking(package, names, get), listed, names


def lacking(package: str, names: list[str], get: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """Return ``__getattr__`` of a package, of which an error says what is meant by a name that it does not have."""

    def get_or_tell(name: str) -> Any:
        if get is not None and name in names:
            return get(name)
        public, here = {each.lower(): each for each in names}, Path(__file__).parent
        stubs = [*here.rglob("__init__.py*")] if name[0] != "_" else []
        listing_it = [stub for stub in stubs if re.search(rf'as {name}$|"{name}",$', stub.read_text("utf-8"), re.M)]
        homes = [".".join(stub.parent.relative_to(here.parent).parts) for stub in listing_it]
        remedy = meant(name, public, lambda ours, _: f"did you mean {public[ours]!r}?", "=")
        remedy = f"it is `{homes[0]}.{name}`" if homes else remedy or f"it has {', '.join(names)}"
        caller = sys._getframe(1)
        is_import = caller.f_code.co_code[caller.f_lasti] == opmap["IMPORT_FROM"]  # which replaces other errors
        error = ImportError if is_import and f"{package}.{name}" not in sys.modules else AttributeError
        raise error(f"No {package} attribute {name}; {remedy}", name=name)

    return get_or_tell

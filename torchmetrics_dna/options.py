"""Fields of dataclasses that are options of commands, too, and what is meant by names that neither takes.

It imports nothing of this package, so that the command line starts at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import field
from difflib import get_close_matches
from functools import partialmethod, wraps
from inspect import Parameter, Signature, isfunction, signature, unwrap
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, cast, get_args, get_origin

_F = TypeVar("_F", bound="Callable[..., Any]")
#: What is meant by names that other programs and libraries have: after a colon names of ours, perhaps with a value, or
#: after "=" a sentence; the first of ours that a command, a function or an object has.
_MEANT = """
arch backbone checkpoint encoder extractor feature_extractor model model_name net network preset: feature
data_path dataset dir folder images input input1 input2 path path1 path2 source target: =sets come first, without a name
current current_data fake gen generated: =sets come first, without a name: the reference, then what is compared
baseline ground_truth gt ref reference_data: reference | =the reference is the first set
real: reference | =`compare` takes the reference first, and only metrics of two sides take `real`
reference: =the reference is the first set
distance distances metric score_name: metrics | score | value
fid: metrics fid
kid: metrics kid
isc inception_score is: metrics is
prc precision recall density coverage: metrics precision,recall
degree gamma coef coef0 kid_degree kid_gamma kid_coef0: =kid is as published, with its kernel
neighborhood nearest_k prc_neighborhood: =in Python it is `metrics.PRDC(nearest_k=...)`
antialias interpolation mode: resize | =images are resized as by clean-fid; `DNAExtractor(resize=...)` says how
calculate_metrics compute_fid compute_kid fid_score: =compare(a, b, metrics=['fid', 'kid']) gives distances
lpips ssim psnr: =images are not compared one by one; `metrics` has the names of distances
dim dims layer output_layer block blocks: layers
bin buckets nbins: num_bins
fold k_folds kfold n_folds splits folds: num_folds
bs batch: batch_size
jobs n_jobs threads workers: num_workers
ddp dataparallel nproc num_gpus processes ranks use_dataparallel world_size: num_workers | =start it by torchrun
cuda gpu gpus: device cuda
cpu no_gpu: device cpu
match match_by paired pairing: pairs
group subject patient: groups
classes labels label by_class per_class: by
field key col image_column: column
weights checkpoint_path ckpt: weights_path | neuron_weights
crop_size center_crop: crop center
alpha level significance: =confidence is 1 less the level: 0.99 for 0.01
cutoff drift_share max_distance threshold tolerance: fail_above | share | =tests tell what is odd, at their levels
anomalies bad checks issue_types issues outliers suite: off | odd | =all that is known is looked for
fail fail_if check gate fail_if_different fail_if_odd fail_if_changed: fail_if_different | fail_if_odd | fail_if_changed
cache_dir cache save_stats: =a DNA file keeps what was measured: make
csv: format csv | table
json: format json
latex tex: format latex
markdown md: format markdown
browser html page report: output page.html
dump export out outdir outfile output_dir save save_path write: output | folder | save
figure fig png show visualize: plot figure.png
best n_best: top | most
k n number first head: k | =`top` of a ranking shows so many of the best, `worst` of the worst
heatmap heatmaps: maps
holdout heldout validation val test: held_out
ignore_errors skip skip_errors skip_corrupt: skip_unreadable
max_images limit num_images num_samples samples: num_images | =all images are taken; give a folder of some
matrix all_pairs pairwise: all | =matrix compares all with all
duplicates copies dedup neighbours neighbors: nearest | copies
exif orientation: exif_orientation
fp16 half bf16 amp precision: dtype | =in Python it is `DNAExtractor(..., dtype='float16')`
size image_size img_size imgsz resolution resize resize_to: input_size | num_images | =images of any size are taken
pretrained use_pretrained: =networks come with their weights; `weights_path` gives others
bootstrap ci confidence_interval num_bootstraps permutations: interval | =intervals and tests are of folds: `num_folds`
augment preprocess transform transforms: =an extractor resizes and normalises images itself
cores cpus: num_workers
num_channels in_channels: channels
fmt file_format: format
hf_token token: =the hub takes a token from HF_TOKEN in the environment
kid_subset_size kid_subsets subset subset_size subsets: =all images are taken
normalise normalized scale: normalize
is_real: real
window_size: window
random_state rng_seed seed shuffle: =nothing is drawn at random: the same call gives the same result
debug trace: =TORCHMETRICS_DNA_DEBUG=1 in the environment shows the trace of an error
log log_level quiet silent verbose v q: progress | =results are on stdout, all else on stderr: 2>/dev/null
dry_run exist_ok force overwrite yes y: =what is wrong is told before any work; a file is replaced, and nothing asks
config: =there are no files of settings; all are options
exclude ext extension extensions glob include pattern: =a quoted pattern takes some files: 'x/*.png'
caption title: names | =sets have the names of their folders; `report` takes `names`
embeddings: feature identity
count len n_images: num_images | total
describe summary text: verdict | summary
drift is_different is_significant significant: differs | changed
get item result results score value values: value | scores | compute
append extend feed observe: update | add | merge
filenames files paths: names
from_file from_pretrained open read: load
recursive r: =folders are searched with all that are in them
"""
_HOLDERS = {"feature": "DNAExtractor", "reading": "Reading"}  # classes whose arguments are given within an argument
_TAKERS: dict[str, list[str]] = {}  # functions and methods that take an argument, by its name
# kinds of arguments as errors have them, by their names in annotations; public classes add theirs
_KINDS = {"bool": "a bool", "int": "an integer", "float": "a number", "str": "a text", "Tensor": "a tensor"}
_KINDS |= {"PathLike": "a path", "Names": "a list of names", "Sequence": "a list", "Mapping": "a dict", "None": "None"}
_CLASSES: dict[str, type] = {}  # the public ones, by name
_MOST_TAKERS = 3  # that are named
# methods by which values of other types are such
_LIKE = {"int": "__index__", "float": "__float__", "PathLike": "__fspath__", "Mapping": "keys"}
_LIKE |= {"Names": "__iter__", "Sequence": "__iter__"}
# that a public class refuses, unless it has them
_OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "truediv", "<": "lt", ">": "gt", "[]": "getitem"}
_LONGEST = 80  # characters of a value in an error
_RECORDS = [line.partition(": ") for line in _MEANT.splitlines()]
_BY_NAME = {name: ours.split(" | ") for names, _, ours in _RECORDS for name in names.split()}


def option(default: Any, group: str, text: str, *, rare: bool = False) -> Any:
    """Return a field that the help of a command shows with this text in a group; a rare one in ``--help-all`` alone."""
    return field(default=default, metadata={"group": group, "help": text, "rare": rare})


def meant(name: str, taken: Collection[str], written: Callable[[str, str], str], says_more: bool = True) -> str:
    """Return what is meant by a name that is not taken, of those that are, or a sentence; empty if nothing is.

    Args:
        name: Name of an option or an argument.
        taken: Names that are taken, with underscores.
        written: Function that writes one of them with a value, which may be empty.
        says_more: Whether a sentence on options and arguments may take the place of a name.

    Example:
        >>> meant("model", ["feature"], lambda name, value: f"{name}={value}"), meant("colum", ["column"], str.__add__)
        ('feature=', 'column')

    """
    plain = name.strip("-").replace("-", "_").lower()
    if plain in taken:
        return written(plain, "")
    for ours in _BY_NAME.get(plain, []):
        argument, _, value = ours.partition(" ")
        if argument in taken:
            return written(argument, value)
        if says_more and ours.startswith("="):
            return ours[1:]
    parts = [each for each in taken if each.startswith(f"{plain}_") or each.endswith(f"_{plain}")]
    close = get_close_matches(plain, taken, 1, 0.7) or parts
    return written(close[0], "") if close else ""


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
    if isinstance(shape, tuple):
        return f"a {kind} of shape {tuple(shape)}"
    text = " ".join(repr(value).split())
    if len(text) <= _LONGEST:
        return text
    return (
        f"{text[:_LONGEST]}..."
        if isinstance(value, str)
        else f"a {kind}" + (f" of {len(value)}" if isinstance(value, Sized) else "")
    )


def check_keywords(function: Callable[..., Any], options: Collection[str], error: type[Exception] = TypeError) -> None:
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

    takers = [*dict.fromkeys(_TAKERS.get(wrong[0], []))]
    elsewhere = f"{' and '.join(takers)} take{'s' * (len(takers) == 1)} it" if 0 < len(takers) <= _MOST_TAKERS else ""
    listed = f"it takes {', '.join(name for name in own if name != 'self')}"
    remedy = meant(wrong[0], [*own, *inner], written) or elsewhere or listed
    raise error(f"{_called(function)} got an unexpected keyword argument {wrong[0]!r}; {remedy}")


def _called(function: Callable[..., Any], *args: Any) -> str:
    owner, _, name = function.__qualname__.rpartition(".")
    owner = type(args[0]).__name__ if owner and args else owner  # which may be a subclass
    return f"{owner}.{name}()".removeprefix(".").replace(".__init__", "")


class _Kind:
    """What an argument has to be by its annotation: a literal value, or of a known kind."""

    def __init__(self, annotation: str, function: Callable[..., Any]) -> None:
        inline = re.match(r"Literal\[(.*?)\]", annotation)
        self.values = inline[1].replace('"', "'").split(", ") if inline else []
        annotation = annotation.replace("Sequence[str", "Names[str")
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
        near = [base.__name__ for each in self.classes for base in each.__mro__ if Public not in base.__bases__]
        self.names = {*kinds, *(_CLASSES.keys() & near)}
        shown = [_KINDS.get(each, "") for each in kinds if each != "str" or "PathLike" not in kinds]
        shown = [", ".join(shown[:-1])] * (len(shown) > 1) + shown[-1:]
        self.expected = f"one of {', '.join(self.values)}" if self.values else " or ".join(shown)

    def has(self, value: Any) -> bool:
        """Return whether a value is one of a kind."""
        is_plain = value is None or isinstance(value, bool)
        its = {"None" if value is None else each.__name__ for each in type(value).__mro__[: 1 if is_plain else None]}
        its |= {each for each, method in _LIKE.items() if not is_plain and hasattr(type(value), method)}
        if not self.is_known or not its.isdisjoint(self.names):
            self.seen.add(type(value))
        return type(value) in self.seen or brief(value) in self.values


class Checks:
    """Checks of calls of a function: of values by their annotations, of plain kinds, public classes and literals."""

    def __init__(self, function: Callable[..., Any], own: Signature) -> None:
        self.function, self.own, self.kinds = function, own, dict[str, _Kind]()
        by_place = [name for name, each in own.parameters.items() if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
        self.order = ", ".join(name for name in by_place if name != "self")

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
            remedy = "".join(made_by[:1]) if its is None or not kind.has(its) else f"; give its `{name}`"
            remedy += "" if name in options else f"; the order is {self.order}"
            error = TypeError if kind.classes else ValueError
            raise error(f"Argument `{name}` expected to be {kind.expected}, but got {brief(value)}{remedy}")

    def names(self, args: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Raise TypeError for arguments that are missing or too many, or whose names are not taken."""
        kinds = [each.kind for each in self.own.parameters.values()]
        if Parameter.VAR_KEYWORD not in kinds:
            check_keywords(self.function, options)
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
        except TypeError:  # perhaps of the call itself: to bind each call takes longer than all else here
            checks.names(args, options)
            raise

    checks = Checks(function, signature(function))
    known_taker(function, checks.own.parameters)
    return cast("_F", called)


def known_taker(function: Callable[..., Any], taken: Collection[str]) -> None:
    """Remember which arguments a function takes, for errors of others."""
    for name in taken if function.__name__ != "__init__" else ():  # classes have _HOLDERS
        _TAKERS.setdefault(name, []).append(_called(function))


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
        for symbol, operator in _OPERATORS.items():
            operator = f"__{operator}__"
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
        own = [each for each in dict.fromkeys(chain(*classes, getattr(self, "__dict__", ()))) if each[0] != "_"]
        return meant(name, own, lambda ours, _: f"did you mean `{ours}`?", False) or f"it has {', '.join(own)}"

    def _refuse(self, symbol: str, *_: Any) -> Any:
        raise TypeError(f"{type(self).__name__!r} takes no `{symbol}`; {self._meant(symbol)}")

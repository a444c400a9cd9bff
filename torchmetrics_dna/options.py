"""Fields of dataclasses that are options of commands, too, and what is meant by names that neither takes.

It imports nothing of this package, so that the command line starts at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from dataclasses import field
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, Signature, signature, unwrap
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

_F = TypeVar("_F", bound="Callable[..., Any]")
_T = TypeVar("_T", bound=type)
#: What is meant by options and arguments that other programs and libraries take: a name of ours, perhaps with a value,
#: or after "=" a sentence; the first of ours that a command or a function takes.
_MEANT = {
    "arch backbone checkpoint encoder extractor feature_extractor model net network preset": ["feature"],
    "dataset dir folder input input1 input2 path target": ["=sets come first, without a name"],
    "fake generated": ["=sets come first, without a name: the reference, then what is compared with it"],
    "baseline ground_truth gt ref": ["reference", "=the reference is the first set"],
    "real": ["reference", "=`compare` takes the reference first, and only metrics of two sides take `real`"],
    "reference": ["=the reference is the first set"],
    "distance distances metric score_name": ["metrics", "score"],
    "fid": ["metrics fid"],
    "kid": ["metrics kid"],
    "isc inception_score": ["metrics is"],
    "calculate_metrics compute_fid compute_kid fid_score": ["=compare(a, b, metrics=['fid', 'kid']) gives distances"],
    "lpips ssim psnr": ["=images are not compared one by one; `metrics` has the names of distances"],
    "dim dims layer output_layer block blocks": ["layers"],
    "bin buckets nbins": ["num_bins"],
    "fold k_folds kfold n_folds splits folds": ["num_folds"],
    "bs batch": ["batch_size"],
    "jobs n_jobs threads workers": ["num_workers"],
    "processes ranks": ["num_workers", "=start it by torchrun"],
    "cuda gpu gpus": ["device cuda"],
    "cpu no_gpu": ["device cpu"],
    "match match_by paired pairing": ["pairs"],
    "group subject patient": ["groups"],
    "classes labels label by_class per_class": ["by"],
    "field key col image_column": ["column"],
    "weights checkpoint_path ckpt": ["weights_path", "neuron_weights"],
    "crop_size center_crop": ["crop center"],
    "alpha level significance": ["=confidence is 1 less the level: 0.99 for 0.01"],
    "thresh threshold tolerance max_distance": ["fail_above", "share", "=tests tell what is odd, at their levels"],
    "issues issue_types checks suite": ["=all that is known is looked for"],
    "fail fail_if check gate exit_code fail_if_different fail_if_odd fail_if_changed": [
        *("fail_if_different", "fail_if_odd", "fail_if_changed"),
    ],
    "cache_dir cache save_stats": ["=a DNA file keeps what was measured: make"],
    "csv": ["format csv"],
    "json": ["format json"],
    "latex tex": ["format latex"],
    "markdown md": ["format markdown"],
    "html page report": ["output page.html"],
    "out outfile output_dir save save_path outdir": ["output", "folder"],
    "figure fig png show visualize": ["plot figure.png"],
    "best n_best": ["top", "most"],
    "k n number first head": ["k", "=`top` of a ranking shows so many of the best, `worst` of the worst"],
    "heatmap heatmaps": ["maps"],
    "holdout heldout validation val test": ["held_out"],
    "ignore_errors skip skip_errors skip_corrupt": ["skip_unreadable"],
    "max_images limit num_images num_samples samples": ["num_images", "=all images are taken; give a folder of some"],
    "matrix all_pairs pairwise": ["all", "=matrix compares all with all"],
    "duplicates copies dedup neighbours neighbors": ["nearest", "copies"],
    "exif orientation": ["exif_orientation"],
    "fp16 half bf16 amp precision": ["dtype", "=in Python it is `DNAExtractor(..., dtype='float16')`"],
    "size image_size img_size imgsz resolution resize resize_to": ["input_size", "=images of any size are taken"],
    "pretrained use_pretrained": ["=networks come with their weights; `weights_path` gives others"],
    "bootstrap n_bootstrap num_bootstraps n_permutations permutations n_boot": [
        "=intervals and tests are of folds of images: `num_folds`"
    ],
    "augment preprocess transform transforms": ["=an extractor resizes and normalises images itself"],
    "cores cpus": ["num_workers"],
    "num_channels in_channels": ["channels"],
    "fmt file_format": ["format"],
    "hf_token token": ["=the hub takes a token from HF_TOKEN in the environment"],
    "subset subset_size subsets": ["=all images are taken"],
    "normalise normalized scale": ["normalize"],
    "is_real": ["real"],
    "window_size": ["window"],
    "random_state seed": ["=nothing is drawn at random: the same call gives the same result"],
    "debug trace": ["=TORCHMETRICS_DNA_DEBUG=1 in the environment shows the trace of an error"],
    "log log_level quiet silent verbose v q": ["progress", "=results are on stdout, all else on stderr: 2>/dev/null"],
    "dry_run force yes y": ["=what is wrong is told before any work, and nothing asks"],
    "config": ["=there are no files of settings; all are options"],
    "recursive r": ["=folders are searched with all that are in them"],
}
_HOLDERS: dict[str, type] = {}  # classes whose arguments are given within an argument of this name
_TAKERS: dict[str, list[str]] = {}  # functions and methods that take an argument, by its name
_KINDS = {"bool": "a bool", "int": "an integer", "float": "a number", "str": "a text", "Tensor": "a tensor"}
_KINDS |= {"Reading": "a Reading", "os.PathLike[str]": "a path", "None": "None"}
_MOST_TAKERS = 3  # that are named
# methods by which values of other types are such
_LIKE = {"int": "__index__", "float": "__float__", "os.PathLike[str]": "__fspath__"}
_LONGEST = 80  # characters of a value in an error
_BY_NAME = {name: ours for names, ours in _MEANT.items() for name in names.split()}


def option(default: Any, group: str, text: str, *, rare: bool = False) -> Any:
    """Return a field that the help of a command shows with this text in a group; a rare one in ``--help-all`` alone."""
    return field(default=default, metadata={"group": group, "help": text, "rare": rare})


def meant(name: str, taken: Collection[str], written: Callable[[str, str], str]) -> str:
    """Return what is meant by a name that is not taken, of those that are, or a sentence; empty if nothing is.

    Args:
        name: Name of an option or an argument.
        taken: Names that are taken, with underscores.
        written: Function that writes one of them with a value, which may be empty.

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
        if ours.startswith("="):
            return ours[1:]
    parts = [each for each in taken if each.startswith(f"{plain}_") or each.endswith(f"_{plain}")]
    close = get_close_matches(plain, taken, 1, 0.7) or parts
    return written(close[0], "") if close else ""


def names_in(text: str) -> list[str]:
    """Split a list of names at commas, semicolons and spaces.

    Example:
        >>> names_in("dna-emd, fd;kid")
        ['dna-emd', 'fd', 'kid']

    """
    return re.split(r"[,;\s]+", text.strip(",; \n"))


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


def given_as(argument: str) -> Callable[[_T], _T]:
    """Register a class whose own arguments are given within ``argument`` of other functions."""

    def register(kind: _T) -> _T:
        _HOLDERS[argument] = kind
        return kind

    return register


def check_keywords(function: Callable[..., Any], options: Collection[str], error: type[Exception] = TypeError) -> None:
    """Raise an error for arguments that a function does not take, with what is meant, or else those that it takes."""
    own = [name for name, each in signature(function).parameters.items() if each.kind is not Parameter.VAR_KEYWORD]
    if not (wrong := [name for name in options if name not in own]):
        return
    inner = {
        name: (argument, kind)
        for argument, kind in _HOLDERS.items()
        if argument in own
        for name in signature(kind).parameters
    }

    def written(name: str, value: str) -> str:
        passed = f"{name}={repr(value) if value else '...'}"
        argument, kind = (None, None) if name in own else inner[name]
        return f"did you mean `{passed}`?" if kind is None else f"did you mean `{argument}={kind.__name__}({passed})`?"

    takers = [*dict.fromkeys(_TAKERS.get(wrong[0], []))]
    elsewhere = f"{' and '.join(takers)} take{'s' * (len(takers) == 1)} it" if 0 < len(takers) <= _MOST_TAKERS else ""
    listed = f"it takes {', '.join(name for name in own if name != 'self')}"
    remedy = meant(wrong[0], [*own, *inner], written) or elsewhere or listed
    raise error(f"{_called(function)} got an unexpected keyword argument {wrong[0]!r}; {remedy}")


def _called(function: Callable[..., Any], *args: Any) -> str:
    owner, _, name = function.__qualname__.rpartition(".")
    owner = type(args[0]).__name__ if owner and args else owner  # which may be a subclass
    return f"{owner}.{name}()".removeprefix(".").replace(".__init__", "")


def check_call(function: Callable[..., Any], own: Signature, args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Raise TypeError for arguments that are missing or too many, ValueError for one that its annotation excludes.

    Annotations of plain kinds are looked at, and literal ones, also by their name in the function's module.
    """
    parameters, names_of_module = own.parameters, unwrap(function).__globals__
    by_place = [name for name, each in parameters.items() if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
    order = ", ".join(name for name in by_place if name != "self")
    try:
        own.bind(*args, **options)
    except TypeError as err:
        by_name = ", and all else by name" * (len(parameters) > len(by_place))
        raise TypeError(f"{_called(function, *args)}: {err}; it takes {order}{by_name}") from None
    for name, value in (*zip(parameters, args, strict=False), *options.items()):
        kinds = str(parameters[name].annotation).split(" | ") if name in parameters else [""]
        of_name = names_of_module.get(kinds[0])
        values = [*map(repr, get_args(of_name))] if get_origin(of_name) is Literal else []
        if inline := re.fullmatch(r"Literal\[(.*)\]", kinds[0]):
            values = inline[1].replace('"', "'").split(", ")
        if not _KINDS.keys() >= {*kinds[bool(values) :]}:
            continue
        is_plain = value is None or isinstance(value, bool)
        its = {"None" if value is None else each.__name__ for each in type(value).__mro__[: 1 if is_plain else None]}
        its |= {kind for kind, method in _LIKE.items() if not is_plain and hasattr(value, method)}
        if (values and brief(value) in values) or not its.isdisjoint(kinds):
            continue
        expected = f"one of {', '.join(values)}" if values else " or ".join(_KINDS[kind] for kind in kinds)
        where = "" if name in options else f"; the order is {order}"
        raise ValueError(f"Argument `{name}` expected to be {expected}, but got {brief(value)}{where}")


def named(function: _F) -> _F:
    """Let a function tell what is meant by an argument that it does not take, and of which kind one has to be."""

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        if not has_more and not options.keys() <= taken.keys():
            check_keywords(function, options)
        check_call(function, own, args, options)
        return function(*args, **options)

    own, taken = signature(function), signature(function).parameters
    has_more = any(each.kind is Parameter.VAR_KEYWORD for each in taken.values())
    known_taker(function, taken)
    return cast("_F", called)


def known_taker(function: Callable[..., Any], taken: Collection[str]) -> None:
    """Remember which arguments a function takes, for errors of others."""
    for name in taken if function.__name__ != "__init__" else ():  # classes have _HOLDERS
        _TAKERS.setdefault(name, []).append(_called(function))

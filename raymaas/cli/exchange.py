"""`raymaas models export`, `import`, `copy` and `import-weights`: versions in and out, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from raymaas.cli.evaluate import component_of
from raymaas.cli.local import StorageInUse, settings_from_environment, storage_in_use
from raymaas.cli.show import AsJson, notes, print_json
from raymaas.client.yamlfile import Place, read_yaml
from raymaas.errors import InvalidInput
from raymaas.specs.cards import Card
from raymaas.specs.importing import WeightsFile, WeightsImport
from raymaas.specs.names import Reference, check_name
from raymaas.specs.versions import ModelVersion

if TYPE_CHECKING:
    from raymaas.exchange.parcel import OnRead, Parcel
    from raymaas.wiring import Registry

app = typer.Typer()

VersionArgument = Annotated[
    str, typer.Argument(metavar="MODEL@VERSION", help="A version, or an alias of one.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR")]
As = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Its name here; default its own.")]


@app.command("export")
def export_version(reference: VersionArgument, directory: Folder, storage: StorageInUse = None) -> None:
    """Write a version into a folder: its files, its manifest, and its card for people.

    The folder appears whole or not at all. The digest printed names exactly this version: give it to whoever
    imports the folder, by another way than the folder goes.

    Example:

      raymaas models export digits@2 digits-2
    """
    from raymaas.exchange.folder import write_folder
    from raymaas.exchange.identity import digest_of
    from raymaas.exchange.parcel import pack

    registry = _registry(storage)
    manifest = _resolved(registry, reference)
    with _progress(_bytes(manifest), "reading") as advance:
        parcel = pack(registry.versions, manifest, origin=registry.store.url, on_read=advance)
    write_folder(parcel, directory)
    typer.echo(f"{_name(manifest)} is in {directory}, digest {digest_of(parcel.sealed)}")


@app.command("import")
def import_version(
    directory: Folder,
    model: As = None,
    digest: Annotated[str | None, typer.Option(help="What `export` printed; nothing else is taken.")] = None,
    storage: StorageInUse = None,
    as_json: AsJson = False,
) -> None:
    """Register the version in a folder that `export` wrote, under the next number.

    Every file is verified, and the version must give its recorded answers, before anything is published. It
    keeps its lineage and says where it came from. Importing it again gives the version that is there.

    Example:

      raymaas models import digits-2 --model digits-from-lab
    """
    from raymaas.exchange.folder import read_folder
    from raymaas.exchange.incoming import bring_in

    target = _checked(model)
    parcel = read_folder(directory, digest=digest)
    registry = _registry(storage)
    with _progress(_bytes(parcel.manifest), "keeping") as advance:
        version = bring_in(registry.versions, parcel, model=target, on_kept=advance)
    _print(version, parcel, as_json=as_json)


@app.command("copy")
def copy_version(
    reference: VersionArgument,
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The store it is in.")],
    destination: Annotated[str, typer.Option("--to", metavar="URL", help="The store it shall be in too.")],
    model: As = None,
    as_json: AsJson = False,
) -> None:
    """Copy a version from one store to another, as export and import would.

    Example:

      raymaas models copy digits@prod --from file:///data/lab --to s3://models/production
    """
    from raymaas.exchange.incoming import bring_in
    from raymaas.exchange.parcel import pack

    target = _checked(model)
    ours, theirs = _registry(source), _registry(destination)
    manifest = _resolved(ours, reference)
    with _progress(2 * _bytes(manifest), "copying") as advance:
        parcel = pack(ours.versions, manifest, origin=ours.store.url, on_read=advance)
        version = bring_in(theirs.versions, parcel, model=target, on_kept=advance)
    _print(version, parcel, as_json=as_json)


@app.command("import-weights")
def import_weights(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A state_dict: .safetensors, .pth, .pt, .bin.")
    ],
    model: Annotated[str, typer.Option(metavar="NAME", help="The model it becomes a new version of.")],
    architecture: Annotated[
        str, typer.Option(metavar="NAME", help="Of the catalogue, such as mlp or lenet5.")
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME|JSON",
            help='The data set it takes: digits, or \'{"use": "csv", "config": {"path": "all.csv", "label": "y"}}\'.',
        ),
    ],
    config: Annotated[
        str, typer.Option(metavar="YAML", help="The architecture's settings, or @FILE with them.")
    ] = "{}",
    transforms: Annotated[
        str,
        typer.Option(
            metavar="YAML",
            help="What it was trained with in front, as in a job: '[{use: standardize}]', or @FILE. They are fitted "
            "on the training rows of --data.",
        ),
    ] = "[]",
    card: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML: licence, intended_use, data_sources, limits.")
    ] = None,
    description: Annotated[str, typer.Option(help="Kept with the version.")] = "",
    storage: StorageInUse = None,
    as_json: AsJson = False,
) -> None:
    """Register a PyTorch network that was trained elsewhere.

    FILE holds `network.state_dict()`, saved with torch.save or as safetensors; its names and shapes must be
    those of the architecture. It is evaluated on the test rows of the data set, as a training would be. A file
    that holds anything but tensors is refused, and nothing in it is run.

    Example:

      raymaas models import-weights mlp.pth --model digits --architecture mlp --config '{hidden: [128]}' --data digits
    """
    from raymaas import wiring
    from raymaas.cli.loglines import version_line
    from raymaas.exchange.weights import read_weights
    from raymaas.jobs import importing

    weights = read_weights(file)
    fields = {
        "model": model,
        "weights": WeightsFile(name=weights.name, bytes=weights.bytes, sha256=weights.sha256),
        "architecture": {
            "use": architecture,
            "config": _settings(config, "--config", such_as="{hidden: [128]}"),
        },
        "data": component_of(data),
        "transforms": _settings(transforms, "--transforms", such_as="[{use: standardize}]"),
        "description": description,
        "card": _card(card),
    }
    job = WeightsImport.parse(fields, source="import-weights")
    registry, console = _registry(storage), notes()
    version = importing.import_weights(
        job,
        weights,
        store=registry.store,
        versions=registry.versions,
        say=lambda text: console.print(text, markup=False),
        files=wiring.data_files(settings_from_environment()),
    )
    for note in version.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    print_json(version) if as_json else typer.echo(version_line(version))


def _registry(storage: str | None) -> Registry:
    from raymaas import wiring

    return wiring.open_registry(storage_in_use(settings_from_environment(storage=storage), storage))


def _resolved(registry: Registry, reference: str) -> ModelVersion:
    from raymaas.registry.resolve import resolve

    target = Reference.parse(reference)
    return registry.versions.get(target.model, resolve(target, registry.versions, registry.states))


def _checked(model: str | None) -> str | None:
    try:
        return None if model is None else check_name(model)
    except ValueError as error:
        raise InvalidInput(f"--model: {error}") from None


def _settings(text: str, option: str, *, such_as: str) -> Any:
    import yaml

    if text.startswith("@"):
        return read_yaml(Path(text[1:]), {}, start=f"write one, such as `{such_as}`")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise InvalidInput(f"{option} {text!r} is not YAML; write {such_as!r} or @FILE") from None


def _card(path: Path | None) -> Card | None:
    if path is None:
        return None
    places: dict[Place, str] = {}
    fields = read_yaml(path, places, start="write one, such as `licence: CC-BY-4.0`")
    return Card.parse(fields, source=str(path), places=places)


def _print(version: ModelVersion, parcel: Parcel, *, as_json: bool) -> None:
    if as_json:
        return print_json(version)
    whence = f"{_name(parcel.manifest)} of {parcel.origin}"
    typer.echo(f"{_name(version)} is {whence}, {_bytes(version):,} bytes verified")
    return None


def _name(version: ModelVersion) -> str:
    return f"{version.model}@{version.version}"


def _bytes(manifest: ModelVersion) -> int:
    return sum(entry.bytes for entry in manifest.files.values())


@contextmanager
def _progress(total: int, what: str) -> Iterator[OnRead]:
    """A bar on a terminal; gives what is told the name and bytes of each file, from any thread."""
    console = notes()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)

        def advance(name: str, count: int) -> None:
            bar.update(task, advance=count, description=f"{what} {name}")

        yield advance

"""Commands for live play: `doctor`."""

from __future__ import annotations

import click

from neuralsynth.cli.parts import as_json
from neuralsynth.errors import DeviceError, one_line


@click.command()
@click.option("--json", "json_", is_flag=True, help="report as JSON")
def doctor(json_: bool) -> None:
    """Tell what this machine has for playing live, what it lacks and how to get it.

    Ends with 0 if one can play and hear it, with 3 if not.

    \b
    neuralsynth doctor
    """
    from neuralsynth.live.doctor import OK, examine

    examination = examine()
    if json_:
        as_json(examination.to_json())
    else:
        for finding in examination.findings:
            how = f"  ->  {finding.how}" if finding.how else ""
            says = one_line(finding.says) if finding.state == OK else f"{one_line(finding.says)}{how}"
            click.echo(f"{finding.state:<9}{finding.name:<19}{says}")
    if not examination.can_play:
        lacking = ", ".join(f.name for f in examination.findings if f.state == "missing")
        raise DeviceError(f"nothing can be heard live here ({lacking}); takes can be recorded with --audio none")

"""forgetfilter compare and forgetfilter scale: a study, or the part of it that was asked for."""

import argparse

from forgetfilter.config.load import load_config
from forgetfilter.errors import UserError


def run_study(options: argparse.Namespace) -> None:
    """Runs what is pending and gathers, or only one of these. UserError where a member is not done."""
    from forgetfilter.process import interrupts
    from forgetfilter.process.progress import console as remarks
    from forgetfilter.process.progress import results
    from forgetfilter.study import members, studies

    config = load_config(options.target, options.overrides)
    study = studies.STUDIES[options.command]
    cells, console = study.members(config), results()
    if options.pending:
        print(config.name, *study.waves(cells))
        return
    if options.list:
        console.print(members.status_table(cells, study.title))
        return
    interrupts.install()
    if options.member is not None:
        member = members.member_of(cells, options.member)
        member.work(cells, options.resume)
        print(member.folder)
        return
    if not options.gather:
        members.run_pending(cells, options.resume)
    folder = members.study_folder(config, options.command)
    if not options.resume:
        members.check_gathered(cells, folder / f"{options.command}.json")
    gathered = study.gather(config)
    console.print(study.table(gathered))
    remarks.print(f"open {folder / options.command}.html", soft_wrap=True)
    print(folder)
    if failed := gathered["members"] - gathered["done"]:
        raise UserError(f"{failed} of {gathered['members']} members are not done; the same command runs them again")

//! The manual: one page, from the arguments that are taken.
use super::args::EXIT;
use clap::Command;
use clap_mangen::Man;
use std::io;

const FILES: &str = "\
.TP
\\fIproxy.toml\\fR
The configuration, where \\fB\\-c\\fR names no other.
.TP
\\fIstate/\\fR
Beside it, unless \\fIserver.state\\fR names another folder: \\fIadmin.sock\\fR, by which commands ask,
\\fIhandover.sock\\fR, and \\fIwords.json\\fR, what they said.
";

/// The page: what it is, its commands, each with what it takes.
pub(super) fn page(mut command: Command) -> Vec<u8> {
    command.build();
    let man = Man::new(command.clone());
    let mut out = part(|to| man.render_title(to).and(man.render_name_section(to)));
    out += &part(|to| man.render_synopsis_section(to).and(man.render_options_section(to)));
    out += ".SH COMMANDS\n";
    out += &list(&command);
    sections(&command, "", &mut out);
    out += &format!(
        ".SH EXIT STATUS\n{}\n.SH FILES\n{FILES}",
        EXIT.trim_start_matches("Exit codes: ")
    );
    out += &part(|to| man.render_version_section(to));
    out.into_bytes()
}

fn part(render: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    render(&mut out).expect("memory can be written to");
    String::from_utf8(out).expect("what is said is text")
}

fn below(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help")
}

/// The commands below one, as they are called.
fn list(command: &Command) -> String {
    let one = |sub: &Command| {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        format!(".TP\n\\fB{}\\fR\n{about}\n", sub.get_bin_name().unwrap_or_default())
    };
    below(command).map(one).collect()
}

/// Those below a command, and those below them.
fn sections(command: &Command, above: &str, out: &mut String) {
    for sub in below(command) {
        let name = format!("{above}{}", sub.get_name());
        *out += &format!(".SH {}\n", name.to_uppercase());
        let man = Man::new(sub.clone());
        let own = part(|to| {
            man.render_synopsis_section(to)?;
            man.render_description_section(to)?;
            man.render_options_section(to)
        });
        *out += &own.replace("\n.SH ", "\n.SS ");
        if sub.has_subcommands() {
            *out += ".SS COMMANDS\n";
            *out += &list(sub);
        }
        sections(sub, &format!("{name} "), out);
    }
}

//! Files that include files.
use super::super::log::LogTarget;
use super::super::model::Config;
use super::super::sources::Sources;
use std::path::Path;

const WEB: &str = "[listener.web]\nbind = \"127.0.0.1:0\"\n";

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Loads `proxy.toml` of a folder; problems without the folder's name.
fn read(dir: &Path) -> Result<Config, Vec<String>> {
    let prefix = format!("{}/", dir.display());
    crate::config::load(&dir.join("proxy.toml"))
        .map_err(|all| all.iter().map(|p| p.to_string().replace(&prefix, "")).collect())
}

#[test]
fn included_files_are_read_from_the_folder_of_their_includer() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "proxy.toml", &format!("include = [\"conf.d/*.toml\", \"one.toml\"]\n{WEB}"));
    write(
        dir.path(),
        "conf.d/b.toml",
        "[pool.b]\nbackends = [\"unix:b.sock\"]\n[[route]]\npool = \"a\"\n",
    );
    write(
        dir.path(),
        "conf.d/a.toml",
        "include = \"more/*.toml\"\n[pool.a]\nbackends = []\n[[route]]\nname=\"a\"\npath=\"/a\"\npool = \"b\"\n",
    );
    write(dir.path(), "conf.d/.hidden.toml", "nonsense");
    write(dir.path(), "conf.d/more/c.toml", "[log]\naccess = \"s\"\n");
    write(dir.path(), "one.toml", "[server]\nworkers = 1\n");
    let all = read(dir.path()).unwrap();
    assert_eq!(all.log.access.unwrap().to, LogTarget::File(dir.path().join("conf.d/more/s")));
    assert_eq!(
        all.pools["b"].backends[0].addr.to_string(),
        format!("unix:{}/conf.d/b.sock", dir.path().display())
    );
    assert_eq!(all.routes.iter().map(|r| &*r.name).collect::<Vec<_>>(), ["a", "#1"]);
    let mut expect = Sources::of(&dir.path().join("proxy.toml"));
    expect.file(dir.path().join("one.toml"));
    expect.pattern(dir.path().join("conf.d/*.toml"));
    expect.pattern(dir.path().join("conf.d/more/*.toml"));
    assert_eq!(all.sources, expect);
}

#[test]
fn names_and_sections_stand_once_over_all_files() {
    let dir = tempfile::tempdir().unwrap();
    let twice =
        format!("{WEB}[server]\n[pool.a]\nbackends = []\n[[route]]\nname = \"r\"\npool = \"a\"\n");
    write(dir.path(), "proxy.toml", &format!("include = [\"z.toml\"]\n{twice}"));
    write(dir.path(), "z.toml", &twice);
    assert_eq!(
        read(dir.path()).unwrap_err(),
        [
            "z.toml:1:11: listener.web: a listener of this name is already at proxy.toml:2:11",
            "z.toml:3:2: server: is already at proxy.toml:4:2",
            "z.toml:4:7: pool.a: a pool of this name is already at proxy.toml:5:7",
            "z.toml:7:8: route.r.name: a route of this name is already at proxy.toml:8:8",
        ]
    );
}

#[test]
fn cycles_missing_files_and_depth_are_problems() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "proxy.toml",
        &format!(
            "include = [\"a.toml\", \"gone.toml\", \"none/*.toml\", \"**/x\", \"b.toml\"]\n{WEB}"
        ),
    );
    write(dir.path(), "a.toml", "include = [\"b.toml\"]\n");
    write(dir.path(), "b.toml", "include = [\"./proxy.toml\"]\n[pool.x]\nbackend = []\n");
    let said = read(dir.path()).unwrap_err();
    assert_eq!(said.len(), 6, "{said:#?}");
    assert!(
        said[0].starts_with("proxy.toml:1:22: include[1]: gone.toml cannot be read: "),
        "{said:#?}"
    );
    assert_eq!(
        said[1],
        "proxy.toml:1:50: include[3]: \"**/x\" \"**\" is not known; write one \"*\" for each folder"
    );
    assert_eq!(said[2], "proxy.toml:1:58: include[4]: b.toml is already included at a.toml:1");
    assert_eq!(said[3], "b.toml:1:12: include[0]: ./proxy.toml includes itself");
    assert_eq!(
        said[4],
        "b.toml:2:7: pool.x: says no backends; write for example backends = [\"10.0.0.1:8080\"]"
    );
    assert_eq!(said[5], "b.toml:3:1: pool.x.backend: unknown key; did you mean \"backends\"?");

    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "proxy.toml", &format!("include = \"1.toml\"\n{WEB}"));
    for n in 1..=9 {
        let next = if n < 9 { format!("include = \"{}.toml\"\n", n + 1) } else { String::new() };
        write(dir.path(), &format!("{n}.toml"), &next);
    }
    assert_eq!(
        read(dir.path()).unwrap_err(),
        ["8.toml:1:11: include: 9.toml is more than 8 includes deep"]
    );
}

#[test]
fn a_pattern_matches_what_exists() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "proxy.toml", &format!("include = [\"*/x.toml\"]\n{WEB}"));
    write(dir.path(), "d-a/x.toml", "[pool.a]\nbackends = []\n");
    write(dir.path(), "d-b/other.toml", "nonsense");
    // proxy.toml itself is a plain file that the star stands for.
    assert_eq!(read(dir.path()).unwrap().pools.len(), 1);
}

#[test]
fn what_was_read_of_a_refused_configuration_is_known_too() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("proxy.toml");
    write(dir.path(), "proxy.toml", &format!("include = [\"a.toml\"]\n{WEB}"));
    write(dir.path(), "a.toml", "nonsense");
    let (refused, sources) = super::super::load_with_sources(&main);
    let mut expect = Sources::of(&main);
    expect.file(dir.path().join("a.toml"));
    assert!(refused.is_err());
    assert_eq!(sources, expect);
}

#[test]
fn unreadable_files_are_problems_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    assert!(read(dir.path()).unwrap_err()[0].starts_with("proxy.toml: cannot be read: "));
    write(dir.path(), "proxy.toml", "include = \"a.toml\"\n");
    std::fs::write(dir.path().join("a.toml"), b"a = 1\nb = \"\xff\"\n").unwrap();
    assert_eq!(read(dir.path()).unwrap_err(), ["a.toml:2:6: is not valid UTF-8"]);
}

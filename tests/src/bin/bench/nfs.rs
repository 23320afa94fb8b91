//! Sources on NFS: edited, renamed over, added and removed on one client, compiled through Pumphouse on the others.
//!
//! This is no matter of time: it counts objects. Each is compared with what the compiler alone makes on the same client,
//! and with what the sources say. The bench starts itself again inside a machine that has an NFS server and its clients.

use crate::table::Table;
use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::{Client, Stats};
use pumphouse_tests::nfs::{CLIENTS, on_a_machine_with_nfs};
use pumphouse_tests::process::succeed;
use pumphouse_tests::program::program;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How many edits are made where nobody says.
const EDITS: usize = 300;
/// How long the machine may take for so many, and for its start.
const LIMIT: Duration = Duration::from_secs(3 * 3600);
/// The word that tells the bench that it is inside.
const INSIDE: &str = "inside";

/// The source directory, on each client.
const SOURCES: &str = "sources";
const SOURCE: &str = "#include \"plain.h\"\n#include <shadowed.h>\n#include \"current/linked.h\"\n#include <moved.h>\n";
const COMPILE: &str = "gcc -Ifirst -Isecond -Iplace -c a.c -o";

/// What is done to the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    WriteHeader,
    WriteTwice,
    RenameOver,
    RenameOverLinked,
    Add,
    Remove,
    WriteSource,
    PointLinkElsewhere,
    ReplaceDirectory,
}

/// In turn. What is added is removed by the next but one.
const KINDS: [(Edit, &str); 9] = [
    (Edit::WriteHeader, "header written in place"),
    (Edit::Add, "header added that shadows another"),
    (Edit::RenameOver, "header renamed over"),
    (Edit::Remove, "header removed"),
    (Edit::WriteTwice, "header written twice at once"),
    (Edit::WriteSource, "source written in place"),
    (Edit::RenameOverLinked, "header renamed over, the old one kept"),
    (Edit::PointLinkElsewhere, "link pointed elsewhere"),
    (Edit::ReplaceDirectory, "directory replaced"),
];

/// The numbers that the sources stand for, in the order of the array that they make.
#[derive(Debug, Default)]
struct Numbers([i32; 5]);

/// What came of the objects after one kind of edit.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    objects: usize,
    unlike_local: usize,
    unlike_sources: usize,
    local_unlike_sources: usize,
}

/// Makes the edits that are asked for, and prints what came of each kind.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments {
        [word, edits] if word == INSIDE => inside(edits.parse().context("a number of edits")?),
        [edits] => outside(edits.parse().context("a number of edits")?),
        _ => outside(EDITS),
    }
}

fn outside(edits: usize) -> Result<()> {
    let variable = format!("PUMPHOUSE_PROGRAM={}", program()?.display());
    let own = std::env::current_exe()?.display().to_string();
    let count = edits.to_string();
    let words = ["/usr/bin/env", variable.as_str(), own.as_str(), "nfs", INSIDE, count.as_str()];
    print!("{}", on_a_machine_with_nfs(&words, LIMIT)?);
    Ok(())
}

/// A client of the server, and whoever compiles on it.
struct Seat {
    sources: PathBuf,
    name: &'static str,
    developer: Client,
}

fn inside(edits: usize) -> Result<()> {
    let mut numbers = Numbers::default();
    numbers.begin(&Path::new(CLIENTS[0]).join(SOURCES))?;
    let seat = |place: &'static str| -> Result<Seat> {
        let name = place.rsplit('/').next().unwrap_or(place);
        let developer = Client::new(&Path::new("/run").join(name), None)?;
        Ok(Seat { sources: Path::new(place).join(SOURCES), name, developer })
    };
    let seats: Vec<Seat> = CLIENTS.into_iter().map(seat).collect::<Result<_>>()?;
    let mut counts = [Count::default(); KINDS.len()];
    for number in 0..edits {
        let kind = number % KINDS.len();
        let editor = number % seats.len();
        numbers.edit(KINDS[kind].0, i32::try_from(number)? + 10, &seats[editor].sources)?;
        for seat in seats.iter().enumerate().filter(|(at, _)| *at != editor).map(|(_, seat)| seat) {
            // Now and then twice, so that what is remembered is asked for as well.
            for _ in 0..=usize::from(number % 4 == 0) {
                counts[kind].add(seat, &numbers)?;
            }
        }
    }
    report(&counts, &seats)
}

fn report(counts: &[Count], seats: &[Seat]) -> Result<()> {
    let mut table =
        Table::new(&["", "objects", "unlike gcc's there", "unlike the sources", "gcc's unlike the sources"]);
    let cells = |name: &str, count: &Count| {
        let numbers = [count.objects, count.unlike_local, count.unlike_sources, count.local_unlike_sources];
        std::iter::once(name.to_owned()).chain(numbers.map(|number| number.to_string())).collect::<Vec<_>>()
    };
    let mut all = Count::default();
    for ((_, name), count) in KINDS.iter().zip(counts) {
        table.row(cells(name, count));
        all.objects += count.objects;
        all.unlike_local += count.unlike_local;
        all.unlike_sources += count.unlike_sources;
        all.local_unlike_sources += count.local_unlike_sources;
    }
    table.row(cells("all", &all));
    table.print();
    let mut hits = 0;
    for seat in seats {
        let Stats { compiles, local_hits, local_runs, .. } = seat.developer.stats()?;
        println!(
            "{}: {compiles} compiles, {local_hits} local hits; the others: {local_runs:?}",
            seat.sources.display()
        );
        hits += local_hits;
    }
    ensure!(all.unlike_local == 0, "{} of {} objects are not the local compiler's", all.unlike_local, all.objects);
    ensure!(hits > 0, "no result was remembered");
    Ok(())
}

impl Numbers {
    /// Writes the first sources.
    fn begin(&mut self, sources: &Path) -> Result<()> {
        for directory in ["first", "second", "old", "new", "place", "spare"] {
            fs::create_dir_all(sources.join(directory))?;
        }
        fs::write(sources.join("second/shadowed.h"), "#define SHADOWED 1\n")?;
        fs::write(sources.join("old/linked.h"), "#define LINKED 1\n")?;
        fs::write(sources.join("new/linked.h"), "#define LINKED 2\n")?;
        symlink("old", sources.join("current"))?;
        fs::write(sources.join("place/moved.h"), "#define MOVED 1\n")?;
        fs::write(sources.join("plain.h"), header("PLAIN", 1))?;
        fs::write(sources.join("a.c"), source(1))?;
        self.0 = [1; 5];
        Ok(())
    }

    /// Edits the `sources`, in which `number` is new.
    fn edit(&mut self, edit: Edit, number: i32, sources: &Path) -> Result<()> {
        let at = |name: &str| sources.join(name);
        let [plain, shadowed, linked, moved, own] = &mut self.0;
        match edit {
            Edit::WriteHeader => fs::write(at("plain.h"), header("PLAIN", number))?,
            Edit::WriteTwice => {
                fs::write(at("plain.h"), header("PLAIN", -number))?;
                fs::write(at("plain.h"), header("PLAIN", number))?;
            }
            Edit::RenameOver | Edit::RenameOverLinked => {
                if edit == Edit::RenameOverLinked {
                    let _ = fs::remove_file(at("kept.h"));
                    fs::hard_link(at("plain.h"), at("kept.h"))?;
                }
                fs::write(at("next.h"), header("PLAIN", number))?;
                fs::rename(at("next.h"), at("plain.h"))?;
            }
            Edit::Add => fs::write(at("first/shadowed.h"), header("SHADOWED", number))?,
            Edit::Remove => fs::remove_file(at("first/shadowed.h"))?,
            Edit::WriteSource => fs::write(at("a.c"), source(number))?,
            Edit::PointLinkElsewhere => {
                symlink(if *linked == 1 { "new" } else { "old" }, at("next"))?;
                fs::rename(at("next"), at("current"))?;
            }
            Edit::ReplaceDirectory => {
                fs::write(at("spare/moved.h"), header("MOVED", number))?;
                fs::rename(at("place"), at("gone"))?;
                fs::rename(at("spare"), at("place"))?;
                fs::rename(at("gone"), at("spare"))?;
            }
        }
        match edit {
            Edit::WriteHeader | Edit::WriteTwice | Edit::RenameOver | Edit::RenameOverLinked => *plain = number,
            Edit::Add => *shadowed = number,
            Edit::Remove => *shadowed = 1,
            Edit::WriteSource => *own = number,
            Edit::PointLinkElsewhere => *linked = 3 - *linked,
            Edit::ReplaceDirectory => *moved = number,
        }
        Ok(())
    }

    /// Whether an object holds the numbers.
    fn are_in(&self, object: &[u8]) -> bool {
        let array = self.0.map(i32::to_le_bytes).concat();
        object.windows(array.len()).any(|window| window == array)
    }
}

/// A header of the same length for each number.
fn header(name: &str, number: i32) -> String {
    format!("#define {name} {number:+8}\n")
}

fn source(number: i32) -> String {
    format!("{SOURCE}int numbers[] = {{ PLAIN, SHADOWED, LINKED, MOVED, 1{number:+8} - 1 }};\n")
}

impl Count {
    /// Compiles at `seat`, and compares.
    fn add(&mut self, seat: &Seat, numbers: &Numbers) -> Result<()> {
        let (ours, theirs) = (format!("ours-{}.o", seat.name), format!("theirs-{}.o", seat.name));
        let words: Vec<&str> = COMPILE.split(' ').collect();
        succeed(seat.developer.pumphouse(words.iter().copied().chain([ours.as_str()])).current_dir(&seat.sources))?;
        succeed(Command::new(words[0]).args(&words[1..]).arg(&theirs).current_dir(&seat.sources))?;
        let (ours, theirs) = (fs::read(seat.sources.join(ours))?, fs::read(seat.sources.join(theirs))?);
        self.objects += 1;
        self.unlike_local += usize::from(ours != theirs);
        self.unlike_sources += usize::from(!numbers.are_in(&ours));
        self.local_unlike_sources += usize::from(!numbers.are_in(&theirs));
        Ok(())
    }
}

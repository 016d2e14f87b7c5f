//! The table of instructions beside its source.

use super::super::program::{Instructions, TABLE, parse};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// The compiler that made the table; another one's words differ.
const COMPILER: &str = "clang-14";

fn source() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernel/gate/gate.bpf.c")
}

/// FNV-1a, so that a source changed without its table is seen where no compiler is.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn the_table_was_made_from_the_source_that_stands_beside_it() {
    let told = TABLE
        .lines()
        .find_map(|line| line.strip_prefix("source "))
        .unwrap();
    let bytes = std::fs::read(source()).unwrap();
    assert_eq!(u64::from_str_radix(told, 16).unwrap(), hash(&bytes));
}

#[test]
fn the_compiler_makes_the_table_of_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("gate.o");
    let compiled = Command::new(COMPILER)
        .args(["-O2", "-target", "bpf", "-mcpu=v2", "-c"])
        .arg(format!(
            "-I/usr/include/{}-linux-gnu",
            std::env::consts::ARCH
        ))
        .arg(source())
        .arg("-o")
        .arg(&object)
        .status();
    match compiled {
        // No compiler, or no headers, on this machine: the hash above has to do.
        Err(_) => return,
        Ok(status) if !status.success() => return,
        Ok(_) => {}
    }
    let programs = read(&std::fs::read(&object).unwrap());
    if std::env::var_os("HAFT_WRITE_GATE").is_some() {
        std::fs::write(source().with_file_name("gate.words"), write(&programs)).unwrap();
        return;
    }
    assert_eq!(parse(TABLE).unwrap(), programs);
}

fn number(bytes: &[u8], at: usize, length: usize) -> usize {
    let slice = &bytes[at..at + length];
    let value = slice
        .iter()
        .rev()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    usize::try_from(value).unwrap()
}

fn text(bytes: &[u8], at: usize) -> String {
    let end = bytes[at..].iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(bytes[at..at + end].to_vec()).unwrap()
}

/// The tc programs of an ELF object file (elf(5)).
fn read(bytes: &[u8]) -> BTreeMap<String, Instructions> {
    let (headers, size, count, names) = (
        number(bytes, 40, 8),
        number(bytes, 58, 2),
        number(bytes, 60, 2),
        number(bytes, 62, 2),
    );
    let header = |section: usize| headers + section * size;
    let offset = |section: usize| number(bytes, header(section) + 24, 8);
    let length = |section: usize| number(bytes, header(section) + 32, 8);
    let kind = |section: usize| number(bytes, header(section) + 4, 4);
    let name = |section: usize| text(bytes, offset(names) + number(bytes, header(section), 4));
    let symbols = (0..count).find(|section| kind(*section) == 2).unwrap();
    let strings = number(bytes, header(symbols) + 40, 4);
    let symbol = |at: usize| {
        text(
            bytes,
            offset(strings) + number(bytes, offset(symbols) + 24 * at, 4),
        )
    };
    let mut programs = BTreeMap::new();
    for section in 0..count {
        let Some(program) = name(section).strip_prefix("tc/").map(str::to_owned) else {
            continue;
        };
        let words = bytes[offset(section)..offset(section) + length(section)].chunks(8);
        let words = words
            .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
            .collect();
        let mut maps = BTreeMap::new();
        for table in (0..count)
            .filter(|table| kind(*table) == 9 && number(bytes, header(*table) + 44, 4) == section)
        {
            for entry in (offset(table)..offset(table) + length(table)).step_by(16) {
                let named = number(bytes, entry + 12, 4);
                maps.insert(number(bytes, entry, 8) / 8, symbol(named));
            }
        }
        programs.insert(program, Instructions { words, maps });
    }
    programs
}

fn write(programs: &BTreeMap<String, Instructions>) -> String {
    let head = TABLE.lines().take_while(|line| line.starts_with('#'));
    let mut table = head.collect::<Vec<_>>().join("\n");
    write!(
        table,
        "\nsource {:016x}",
        hash(&std::fs::read(source()).unwrap())
    )
    .unwrap();
    for (name, program) in programs {
        write!(table, "\nprogram {name}").unwrap();
        for (place, word) in program.words.iter().enumerate() {
            table.push(if place % 5 == 0 { '\n' } else { ' ' });
            write!(table, "{word:016x}").unwrap();
            if let Some(map) = program.maps.get(&place) {
                write!(table, "@{map}").unwrap();
            }
        }
    }
    table.push('\n');
    table
}

//! The model on hand-made logs.

use super::*;

fn recording(records: &[Record<'_>]) -> Recording {
    let mut log = Record::Started.encode();
    let started = log.len() as u64;
    log.extend(records.iter().flat_map(Record::encode));
    Recording {
        log,
        base: Image::default(),
        started,
    }
}

fn names(names: &[(&str, FileId)]) -> Record<'static> {
    let entry = |(name, id): &(&str, FileId)| Entry {
        name: (*name).to_owned(),
        id: *id,
        is_folder: false,
    };
    Record::Names {
        folder: ROOT,
        entries: names.iter().map(entry).collect(),
    }
}

fn write(file: FileId, offset: u64, data: &[u8]) -> Record<'_> {
    Record::Write { file, offset, data }
}

fn sync(file: FileId, token: u32) -> [Record<'static>; 2] {
    [
        Record::SyncBegin { file, token },
        Record::SyncEnd { token, ok: true },
    ]
}

fn text(image: &Image, path: &str) -> Option<String> {
    let contents = image.file(path)?;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("f");
    contents
        .write_to(&fs::File::create(&target).unwrap())
        .unwrap();
    Some(fs::read_to_string(target).unwrap())
}

/// The text of file `f` after all `records`, by survival.
fn check(records: &[Record<'_>], survival: Survival, expect: Option<&str>) {
    let recording = recording(records);
    let mut replay = Replay::new(&recording);
    replay.advance_to(recording.end());
    assert_eq!(
        text(&replay.image(survival), "f").as_deref(),
        expect,
        "{survival:?} {records:?}"
    );
}

#[test]
fn bytes_need_a_sync_of_the_file_and_names_one_of_the_folder() {
    let unsynced = [names(&[("f", 1)]), write(1, 0, b"abc")];
    check(&unsynced, Survival::Nothing, None);
    check(&unsynced, Survival::Names, Some(""));
    check(&unsynced, Survival::Everything, Some("abc"));

    let file_only = [&unsynced[..], &sync(1, 0)].concat();
    check(&file_only, Survival::Nothing, None);
    check(&file_only, Survival::Names, Some("abc"));

    let both = [&file_only[..], &sync(ROOT, 1)].concat();
    check(&both, Survival::Nothing, Some("abc"));
}

#[test]
fn a_sync_covers_what_came_before_it_began() {
    let begin = Record::SyncBegin { file: 1, token: 1 };
    let end = Record::SyncEnd { token: 1, ok: true };
    let start = [&[names(&[("f", 1)])][..], &sync(ROOT, 0)].concat();
    let late = [
        &start[..],
        &[write(1, 0, b"ab"), begin.clone(), write(1, 2, b"c"), end],
    ]
    .concat();
    check(&late, Survival::Nothing, Some("ab"));
    let under_way = [&start[..], &[write(1, 0, b"ab"), begin]].concat();
    check(&under_way, Survival::Nothing, Some(""));
}

#[test]
fn a_failed_sync_loses_its_bytes_even_if_a_later_one_succeeds() {
    let start = [&[names(&[("f", 1)])][..], &sync(ROOT, 0)].concat();
    let failed = [
        write(1, 0, b"abc"),
        Record::SyncBegin { file: 1, token: 1 },
        Record::SyncEnd {
            token: 1,
            ok: false,
        },
    ];
    let retried = [&start[..], &failed, &sync(1, 2)].concat();
    check(&retried, Survival::Nothing, Some(""));
    check(&retried, Survival::Everything, Some("abc"));
}

#[test]
fn a_rename_is_not_safe_before_its_folder_is() {
    let old = [
        &[names(&[("f", 1)]), write(1, 0, b"old")][..],
        &sync(1, 0),
        &sync(ROOT, 1),
    ]
    .concat();
    let renamed = [
        &old[..],
        &[write(2, 0, b"new")],
        &sync(2, 2),
        &[names(&[("f", 2)])],
    ]
    .concat();
    check(&renamed, Survival::Nothing, Some("old"));
    check(&renamed, Survival::Names, Some("new"));
    check(
        &[&renamed[..], &sync(ROOT, 3)].concat(),
        Survival::Nothing,
        Some("new"),
    );
    // The bytes of the new file were never synced: a metadata journal leaves it empty.
    let careless = [&old[..], &[write(2, 0, b"new"), names(&[("f", 2)])]].concat();
    check(&careless, Survival::Names, Some(""));
}

#[test]
fn a_truncation_is_pending_like_a_write() {
    let cut = Record::SetLen { file: 1, len: 1 };
    let start = [
        &[names(&[("f", 1)]), write(1, 0, b"abc")][..],
        &sync(1, 0),
        &sync(ROOT, 1),
    ]
    .concat();
    let truncated = [&start[..], &[cut]].concat();
    check(&truncated, Survival::Nothing, Some("abc"));
    check(
        &[&truncated[..], &sync(1, 2)].concat(),
        Survival::Nothing,
        Some("a"),
    );
}

#[test]
fn torn_writes_keep_some_sectors_and_the_seed_repeats_them() {
    let data = [7; 8 * SECTOR];
    let records = [
        &[names(&[("f", 1)])][..],
        &sync(ROOT, 0),
        &[write(1, 0, &data)],
    ]
    .concat();
    let recording = recording(&records);
    let mut replay = Replay::new(&recording);
    replay.advance_to(recording.end());
    let mut kinds = HashSet::new();
    for seed in 0..200 {
        let image = replay.image(Survival::Torn(seed));
        assert_eq!(image.difference(&replay.image(Survival::Torn(seed))), None);
        let contents = image.file("f").expect("the name was synced");
        let full = Sparse::default();
        let whole = {
            let mut full = full;
            full.write(0, &data);
            full
        };
        kinds.insert(match contents.first_difference(&whole) {
            None => "whole",
            Some(_) if contents.is_empty() => "none",
            Some(_) => "part",
        });
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

#[test]
fn a_disk_that_ignores_syncs_loses_what_was_synced() {
    let records = [
        &[names(&[("f", 1)]), write(1, 0, b"abc")][..],
        &sync(1, 0),
        &sync(ROOT, 1),
    ]
    .concat();
    let recording = recording(&records);
    let mut replay = Replay::ignoring_syncs(&recording);
    replay.advance_to(recording.end());
    assert!(replay.image(Survival::Nothing).file("f").is_none());
}

//! A short run of every fuzz target. `fuzz/README.md` says how the targets work and how to run one for long.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::env::Env;
use crate::tools;

/// The package in `fuzz/`.
const PACKAGE: &str = "fanfare-fuzz";

/// How long each target runs: enough to catch what a careless change breaks. Long runs are done by hand.
const SECONDS_PER_TARGET: u32 = 10;

/// One input may not take longer than this, nor the whole target more memory than that.
const LIMITS: [&str; 2] = ["-timeout=5", "-rss_limit_mb=2048"];

/// Builds all targets once and runs each for a few seconds. No target at all is a failure.
pub fn run(env: &Env) -> Result<String> {
    let folder = env.root.join("fuzz");
    let targets = targets(&folder)?;
    // The wrapper instruments Fanfare's own crates; their dependencies are those of the other steps.
    let mut build = tools::cargo(env, &["build", "--locked", "--package", PACKAGE, "--bins"]);
    tools::run(
        env,
        build.env("RUSTC_WORKSPACE_WRAPPER", folder.join("sancov.sh")),
    )?;
    for target in &targets {
        run_one(env, &folder, target).with_context(|| format!("fuzz target {}", target.name))?;
    }
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    Ok(format!(
        "{} targets, {SECONDS_PER_TARGET} s each: {}",
        targets.len(),
        names.join(", ")
    ))
}

fn run_one(env: &Env, folder: &Path, target: &Target) -> Result<()> {
    // What this run finds stays under `target`; committed seeds are only read.
    let corpus = env.target.join("fuzz/corpus").join(&target.name);
    let artifacts = env.target.join("fuzz/artifacts").join(&target.name);
    for made in [&corpus, &artifacts] {
        fs::create_dir_all(made).with_context(|| format!("cannot create {}", made.display()))?;
    }
    let mut command = Command::new(env.target.join("debug").join(&target.name));
    command
        .arg(format!("-max_total_time={SECONDS_PER_TARGET}"))
        .args(LIMITS);
    command
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(&corpus)
        .arg(seeds(folder, target)?);
    tools::run(env, &mut command)
}

/// One `[[bin]]` table of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    name: String,
    path: PathBuf,
}

/// Where the valid inputs of `targets/NAME.rs` are: `seeds/NAME`. Without any, a short run sees only what is refused
/// at once, so that is an error.
fn seeds(folder: &Path, target: &Target) -> Result<PathBuf> {
    let name = target.path.file_stem().context("a target is a file")?;
    let seeds = folder.join("seeds").join(name);
    let first = fs::read_dir(&seeds).ok().and_then(|mut found| found.next());
    ensure!(first.is_some(), "there are no seeds in {}", seeds.display());
    Ok(seeds)
}

/// The targets that `fuzz/Cargo.toml` declares. A file beside them that it forgot would never run, so that is an error.
fn targets(folder: &Path) -> Result<Vec<Target>> {
    let manifest = folder.join("Cargo.toml");
    let manifest = fs::read_to_string(&manifest).with_context(|| {
        format!(
            "there are no fuzz targets: cannot read {}",
            manifest.display()
        )
    })?;
    let targets = declared(&manifest);
    ensure!(
        !targets.is_empty(),
        "there are no fuzz targets in {}",
        folder.display()
    );
    let mut folders: Vec<&Path> = targets
        .iter()
        .filter_map(|target| target.path.parent())
        .collect();
    folders.sort();
    folders.dedup();
    for below in folders {
        for entry in fs::read_dir(folder.join(below)).context("cannot list the fuzz targets")? {
            let file = entry.context("cannot list the fuzz targets")?.file_name();
            let path = below.join(&file);
            let is_target = path.extension().is_some_and(|extension| extension == "rs");
            let known = targets.iter().any(|known| known.path == path);
            ensure!(
                known || !is_target,
                "fuzz/Cargo.toml does not declare {}",
                path.display()
            );
        }
    }
    Ok(targets)
}

/// The `[[bin]]` tables of a manifest.
fn declared(manifest: &str) -> Vec<Target> {
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    let mut in_bin = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_bin = line == "[[bin]]";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| in_bin) else {
            continue;
        };
        let value = value.trim().trim_matches('"').to_owned();
        match key.trim() {
            "name" => names.push(value),
            "path" => paths.push(PathBuf::from(value)),
            _ => {}
        }
    }
    let both = names.into_iter().zip(paths);
    both.map(|(name, path)| Target { name, path }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"fuzz\"\n\n[[bin]]\nname = \"sigv4\"\npath = \"targets/sigv4.rs\"\n\
        test = false\n\n[[bin]]\nname = \"fuzz-envelope\"\npath = \"targets/envelope.rs\"\n[lints]\nname = \"no\"\n";

    #[test]
    fn targets_are_the_binaries_of_the_manifest() {
        let expect = [
            ("sigv4", "targets/sigv4.rs"),
            ("fuzz-envelope", "targets/envelope.rs"),
        ];
        let expect = expect.map(|(name, path)| Target {
            name: name.into(),
            path: path.into(),
        });
        assert_eq!(declared(MANIFEST), expect);
    }

    #[test]
    fn every_target_of_this_repository_has_seeds() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz"));
        let targets = targets(folder).unwrap();
        assert!(targets.len() >= 5);
        for target in &targets {
            assert!(seeds(folder, target).is_ok(), "{target:?}");
        }
        let other = Target {
            name: "fuzz-other".into(),
            path: "targets/other.rs".into(),
        };
        assert!(seeds(folder, &other).is_err());
    }

    #[test]
    fn a_missing_folder_and_a_forgotten_file_are_errors() {
        let folder = std::env::temp_dir().join(format!("xtask-fuzz-{}", std::process::id()));
        assert!(targets(&folder).is_err());
        fs::create_dir_all(folder.join("targets")).unwrap();
        fs::write(folder.join("Cargo.toml"), "[package]\nname = \"fuzz\"\n").unwrap();
        assert!(targets(&folder).is_err());
        fs::write(folder.join("Cargo.toml"), MANIFEST).unwrap();
        for file in ["sigv4.rs", "envelope.rs", "notes.md"] {
            fs::write(folder.join("targets").join(file), "").unwrap();
        }
        assert_eq!(targets(&folder).unwrap(), declared(MANIFEST));
        fs::write(folder.join("targets/forgotten.rs"), "").unwrap();
        assert!(targets(&folder).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}

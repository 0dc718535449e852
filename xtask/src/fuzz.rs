//! A short run of every fuzz target. `fuzz/README.md` says how the targets work and how to run one for long.

use std::fs;
use std::path::Path;
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
        run_one(env, &folder, target).with_context(|| format!("fuzz target {target}"))?;
    }
    Ok(format!(
        "{} targets, {SECONDS_PER_TARGET} s each: {}",
        targets.len(),
        targets.join(", ")
    ))
}

fn run_one(env: &Env, folder: &Path, target: &str) -> Result<()> {
    // What this run finds stays under `target`; committed seeds are only read.
    let corpus = env.target.join("fuzz/corpus").join(target);
    let artifacts = env.target.join("fuzz/artifacts").join(target);
    for made in [&corpus, &artifacts] {
        fs::create_dir_all(made).with_context(|| format!("cannot create {}", made.display()))?;
    }
    let mut command = Command::new(env.target.join("debug").join(target));
    command
        .arg(format!("-max_total_time={SECONDS_PER_TARGET}"))
        .args(LIMITS);
    command
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(&corpus);
    let seeds = folder.join("seeds").join(target);
    if seeds.exists() {
        command.arg(seeds);
    }
    tools::run(env, &mut command)
}

/// The targets that `fuzz/Cargo.toml` declares. A file beside them that it forgot would never run, so that is an error.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let manifest = folder.join("Cargo.toml");
    let manifest = fs::read_to_string(&manifest).with_context(|| {
        format!(
            "there are no fuzz targets: cannot read {}",
            manifest.display()
        )
    })?;
    let (names, paths) = declared(&manifest);
    ensure!(
        !names.is_empty(),
        "there are no fuzz targets in {}",
        folder.display()
    );
    let mut folders: Vec<&Path> = paths
        .iter()
        .filter_map(|path| Path::new(path).parent())
        .collect();
    folders.sort();
    folders.dedup();
    for below in folders {
        for entry in fs::read_dir(folder.join(below)).context("cannot list the fuzz targets")? {
            let file = entry.context("cannot list the fuzz targets")?.file_name();
            let path = below.join(&file);
            let is_target = path.extension().is_some_and(|extension| extension == "rs");
            let known = paths.iter().any(|known| Path::new(known) == path);
            ensure!(
                known || !is_target,
                "fuzz/Cargo.toml does not declare {}",
                path.display()
            );
        }
    }
    Ok(names)
}

/// The names and paths of the `[[bin]]` tables of a manifest.
fn declared(manifest: &str) -> (Vec<String>, Vec<String>) {
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
            "path" => paths.push(value),
            _ => {}
        }
    }
    (names, paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"fuzz\"\n\n[[bin]]\nname = \"sigv4\"\npath = \"targets/sigv4.rs\"\n\
        test = false\n\n[[bin]]\nname = \"envelope\"\npath = \"targets/envelope.rs\"\n[lints]\nname = \"no\"\n";

    #[test]
    fn targets_are_the_binaries_of_the_manifest() {
        let (names, paths) = declared(MANIFEST);
        assert_eq!(names, ["sigv4", "envelope"]);
        assert_eq!(paths, ["targets/sigv4.rs", "targets/envelope.rs"]);
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
        assert_eq!(targets(&folder).unwrap(), ["sigv4", "envelope"]);
        fs::write(folder.join("targets/forgotten.rs"), "").unwrap();
        assert!(targets(&folder).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}

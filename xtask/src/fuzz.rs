//! A short run of every fuzz target, on the stable toolchain: libFuzzer with the compiler's coverage pass.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::places::Places;
use crate::tools;

/// How long each target runs: enough to catch what a careless change breaks. Long runs are done by hand.
const SECONDS_PER_TARGET: u32 = 10;

/// One input may not take longer than this, nor the whole target more memory than that.
const LIMITS: [&str; 2] = ["-timeout=5", "-rss_limit_mb=2048"];

/// What `cargo fuzz` passes to rustc, less the address sanitizer, which needs the nightly toolchain.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks \
    --cfg fuzzing";

/// Builds all targets once and runs each for a few seconds. No target at all is a failure.
pub fn run(places: &Places) -> Result<String> {
    let folder = places.root.join("fuzz");
    let targets = targets(&folder)?;
    let triple = host(&tools::output(&mut tools::rustc(&[
        "--version",
        "--verbose",
    ]))?)?;
    let built = places.target.join("fuzz");
    // `--target` keeps the coverage flags away from build scripts and procedural macros.
    let mut build = tools::cargo(
        places,
        &[
            "build",
            "--release",
            "--bins",
            "--manifest-path",
            "fuzz/Cargo.toml",
        ],
    );
    build
        .args(["--target", &triple, "--target-dir"])
        .arg(&built)
        .env("RUSTFLAGS", COVERAGE);
    tools::run(&mut build)?;
    for target in &targets {
        // New inputs go to the first folder, so the committed seeds stay as they are.
        let corpus = built.join("corpus").join(target);
        let artifacts = built.join("artifacts").join(target);
        for made in [&corpus, &artifacts] {
            fs::create_dir_all(made)
                .with_context(|| format!("cannot create {}", made.display()))?;
        }
        let mut command =
            std::process::Command::new(built.join(&triple).join("release").join(target));
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
        tools::run(&mut command).with_context(|| format!("fuzz target {target}"))?;
    }
    Ok(format!(
        "{} targets, {SECONDS_PER_TARGET} s each: {}",
        targets.len(),
        targets.join(", ")
    ))
}

/// The names of the files in `fuzz/fuzz_targets`.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry.context("cannot list the fuzz targets")?.path();
        if let (Some("rs"), Some(name)) = (
            path.extension().and_then(|text| text.to_str()),
            path.file_stem(),
        ) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    ensure!(
        !names.is_empty(),
        "there is no fuzz target in {}",
        folder.display()
    );
    names.sort();
    Ok(names)
}

fn host(rustc: &str) -> Result<String> {
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .context("rustc does not name its host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read_from_rustc() {
        assert_eq!(
            host("rustc 1.95.0\nhost: x86_64-unknown-linux-gnu\nrelease: 1\n").unwrap(),
            "x86_64-unknown-linux-gnu"
        );
        assert!(host("rustc 1.95.0\n").is_err());
    }

    #[test]
    fn a_missing_or_empty_folder_is_an_error() {
        let folder = std::env::temp_dir().join(format!("xtask-fuzz-{}", std::process::id()));
        let files = folder.join("fuzz_targets");
        assert!(targets(&folder).is_err());
        fs::create_dir_all(&files).unwrap();
        assert!(targets(&folder).is_err());
        for file in ["sigv4.rs", "envelope.rs", "notes.md"] {
            fs::write(files.join(file), "").unwrap();
        }
        assert_eq!(targets(&folder).unwrap(), ["envelope", "sigv4"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}

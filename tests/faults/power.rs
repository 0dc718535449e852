//! A server under the power-cut recorder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use powercut::{Control, Image, Recording};

use super::ledger::Moment;
use super::server::Launch;

/// The folders of one recorded run.
#[derive(Debug)]
pub struct Recorder {
    /// Where the server keeps its data.
    pub data: PathBuf,
    log: PathBuf,
    /// The faults.
    pub control: Control,
    base: Image,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Recorder {
    /// Prepares a run below `folder`, on a disk that holds `base`.
    ///
    /// # Panics
    /// If the folder cannot be written.
    pub fn below(folder: &Path, base: Image) -> Self {
        let (data, log, control) = (
            folder.join("data"),
            folder.join("log"),
            folder.join("control"),
        );
        base.write_to(&data).expect("the base can be written");
        let faults = Control::create(&control).expect("the control file can be written");
        let library = env::current_exe().expect("a test knows where it is");
        let library = library.with_file_name(powercut::LIBRARY);
        assert!(library.exists(), "{} was not built", library.display());
        let environment = vec![
            ("LD_PRELOAD", library),
            (powercut::ENV_FOLDER, data.clone()),
            (powercut::ENV_LOG, log.clone()),
            (powercut::ENV_CONTROL, control),
        ];
        Self {
            data,
            log,
            control: faults,
            base,
            environment,
        }
    }

    /// How to start the server that is recorded.
    pub fn launch(&self) -> Launch {
        let launch = Launch::on(&self.data);
        self.environment
            .iter()
            .fold(launch, |launch, (key, value)| launch.env(key, value))
    }

    /// Has another program recorded that keeps its data in the same folder.
    pub fn record<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.environment.iter().map(|(key, value)| (key, value)))
    }

    /// Tells the position of the log, which is the time of the ledger.
    pub fn clock(&self) -> impl Fn() -> Moment + 'static {
        let log = self.log.clone();
        move || fs::metadata(&log).map_or(0, |metadata| metadata.len())
    }

    /// What was recorded, once the server has ended.
    ///
    /// # Panics
    /// If nothing was.
    pub fn recording(&self) -> Recording {
        Recording::load(&self.log, self.base.clone()).expect("something was recorded")
    }
}

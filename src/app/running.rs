//! What runs behind the door: one backend or the other.

use std::time::Duration;

use tokio::time::Instant;

#[cfg(feature = "aws")]
use super::aws;
use super::{Core, Settings, StartError, sweep};
use crate::auth::Authenticator;
use crate::backends::embedded::OnFailure;
use crate::observe::health::Health;
use crate::wire::front::Door;
use crate::wire::probes;

/// All of the end together: the promise to whoever manages the process.
pub const DRAIN: Duration = Duration::from_secs(25);

/// How long before that everything should have ended, so that nothing is cut off.
pub(super) const SPARE: Duration = Duration::from_secs(1);

/// How long MQTT clients may take to read their goodbye.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

/// What runs behind the door.
pub(super) enum Running {
    /// Everything, in this process.
    Embedded(Box<Core>),
    /// What asks services elsewhere.
    #[cfg(feature = "aws")]
    Aws(Box<aws::Core>),
}

impl Running {
    #[cfg(feature = "aws")]
    pub(super) async fn start(
        settings: &Settings,
        on_failure: OnFailure,
    ) -> Result<Self, StartError> {
        match &settings.aws {
            Some(options) => Ok(Self::Aws(Box::new(
                aws::Core::start(settings, options).await?,
            ))),
            None => Self::start_embedded(settings, on_failure),
        }
    }

    #[cfg(not(feature = "aws"))]
    pub(super) async fn start(
        settings: &Settings,
        on_failure: OnFailure,
    ) -> Result<Self, StartError> {
        Self::start_embedded(settings, on_failure)
    }

    fn start_embedded(settings: &Settings, on_failure: OnFailure) -> Result<Self, StartError> {
        let core = Core::start(settings, on_failure)?;
        sweep(core.registrar.clone(), settings.session_sweep_interval);
        Ok(Self::Embedded(Box::new(core)))
    }

    pub(super) fn health(&self) -> Health {
        match self {
            Self::Embedded(core) => core.health(),
            // A service that does not answer is no reason to go elsewhere: other nodes ask the same one.
            #[cfg(feature = "aws")]
            Self::Aws(_) => Health::new(Box::new(|| Ok(()))),
        }
    }

    pub(super) fn door(&self, settings: &Settings, probes: probes::ProbeState) -> Door {
        match self {
            Self::Embedded(core) => core.door(settings, probes),
            #[cfg(feature = "aws")]
            Self::Aws(core) => core.door(settings, probes),
        }
    }

    pub(super) fn authenticator(&self) -> &Authenticator {
        match self {
            Self::Embedded(core) => &core.authenticator,
            #[cfg(feature = "aws")]
            Self::Aws(core) => core.authenticator(),
        }
    }

    /// Answers those who wait for what may not come.
    pub(super) async fn say_goodbye(&self) {
        match self {
            Self::Embedded(core) => {
                if let Some(plane) = &core.plane {
                    plane.transports.drain(GOODBYE).await;
                }
                core.queues.drain().await;
            }
            #[cfg(feature = "aws")]
            Self::Aws(core) => core.say_goodbye().await,
        }
    }

    /// Ends when nobody is left to be answered; at `until`, what waits for another's engine is given up.
    #[cfg_attr(
        not(feature = "aws"),
        expect(unused_variables, reason = "nothing is elsewhere")
    )]
    pub(super) async fn end(&self, until: Instant) {
        match self {
            Self::Embedded(core) => {
                // What nobody waited for, such as the receive counts of the last polls, reaches the disk, too.
                if let Err(error) = core.store.flush().await {
                    tracing::warn!(%error, "the last changes that nobody waited for may be lost");
                }
                for arbiter in &core.arbiters {
                    arbiter.stop();
                }
            }
            #[cfg(feature = "aws")]
            Self::Aws(core) => core.end(until).await,
        }
    }
}

//! What a browser is served, and the routes behind that: the demos, and the operator's console.

use std::sync::Arc;

use super::{Core, Settings};
use crate::config::Console;
use crate::wire::front::Door;
use crate::wire::{http, iot, pages};

impl Core {
    /// Lets browsers in.
    pub(super) fn serve_pages(&self, mut door: Door, settings: &Settings) -> Door {
        let state = pages::state();
        if settings.demo || settings.console.is_some() {
            door = door.rest("pages", "execute-api", &state, pages::SHARED_ROUTES);
        }
        if settings.demo {
            let demo = Arc::new(self.demo_state(settings));
            door = door
                .rest("demo", "execute-api", &demo, http::demo::DEMO_ROUTES)
                .rest("pages", "execute-api", &state, pages::ROUTES);
        }
        if let Some(console) = &settings.console {
            let admin = Arc::new(self.admin_state(settings, console));
            door = door
                .rest("admin", "execute-api", &admin, http::admin::ADMIN_ROUTES)
                .rest("admin", "execute-api", &admin, http::admin::SIGN_IN_ROUTES)
                .rest("pages", "execute-api", &state, pages::CONSOLE_ROUTES);
        }
        door
    }

    /// What is told of routes beside the main ones.
    pub(super) fn described(&self, settings: &Settings) -> utoipa::openapi::OpenApi {
        let mut document = iot::document();
        if settings.console.is_some() {
            document.merge(http::admin::document());
        }
        document
    }

    fn demo_state(&self, settings: &Settings) -> http::demo::DemoState {
        http::demo::DemoState {
            rest: Arc::new(self.rest_state(settings)),
            authenticator: self.authenticator.clone(),
        }
    }

    fn admin_state(&self, settings: &Settings, console: &Console) -> http::admin::AdminState {
        let mqtt = settings.mqtt.as_ref();
        http::admin::AdminState {
            finder: self.finder.clone(),
            queues: self.queues.clone(),
            dispatchers: self.dispatchers.clone(),
            topics: self.plane.as_ref().map(|plane| plane.topics.clone()),
            authenticator: self.authenticator.clone(),
            traces: self.traces.clone(),
            clock: self.clock,
            may_publish: console.publish,
            max_payload_bytes: mqtt.map_or(0, super::MqttParts::max_payload_bytes),
            place: http::admin::Place {
                region: settings.region.clone(),
                env: settings.env.clone(),
            },
        }
    }
}

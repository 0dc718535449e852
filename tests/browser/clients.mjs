// The stock clients of a page, as its own script would bundle them, on the global object: the tests' functions run in the
// page and can not import.

import * as cognito from "@aws-sdk/client-cognito-identity";
import * as sqs from "@aws-sdk/client-sqs";
import mqtt from "mqtt";
import { presign } from "../../compat/clients/aws.js";

Object.assign(globalThis, { cognito, mqtt, presign, sqs });

// The stock clients of a page, as its own script would bundle them, on the global object: the tests' functions run in the
// page and can not import.

import { Sha256 } from "@aws-crypto/sha256-browser";
import * as cognito from "@aws-sdk/client-cognito-identity";
import * as sqs from "@aws-sdk/client-sqs";
import { SignatureV4 } from "@smithy/signature-v4";
import mqtt from "mqtt";

/** A presigned URL by AWS's own signer for JavaScript: the token is inside the signed query, and there is an expiry. */
async function presign(url, region, credentials) {
  const { hostname, host, port, protocol } = new URL(url);
  const signer = new SignatureV4({ service: "iotdevicegateway", region, credentials, sha256: Sha256 });
  const request = { method: "GET", protocol, hostname, port, path: "/mqtt", query: {}, headers: { host } };
  const { query } = await signer.presign(request, { expiresIn: 300 });
  const pairs = Object.entries(query).map((pair) => pair.map(encodeURIComponent).join("="));
  return `${protocol}//${host}/mqtt?${pairs.join("&")}`;
}

Object.assign(globalThis, { cognito, mqtt, presign, sqs });

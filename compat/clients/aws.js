// AWS's SDK for JavaScript v3 as a page's own script would bundle it: SQS, and the signer for MQTT's URL.

import { Sha256 } from "@aws-crypto/sha256-browser";
import { SignatureV4 } from "@smithy/signature-v4";

export { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

/** A presigned URL by AWS's own signer for JavaScript: the token is inside the signed query, and there is an expiry. */
export async function presign(url, region, credentials) {
  const { hostname, host, port, protocol } = new URL(url);
  const signer = new SignatureV4({ service: "iotdevicegateway", region, credentials, sha256: Sha256 });
  const request = { method: "GET", protocol, hostname, port, path: "/mqtt", query: {}, headers: { host } };
  const { query } = await signer.presign(request, { expiresIn: 300 });
  const pairs = Object.entries(query).map((pair) => pair.map(encodeURIComponent).join("="));
  return `${protocol}//${host}/mqtt?${pairs.join("&")}`;
}

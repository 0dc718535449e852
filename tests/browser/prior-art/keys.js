// Where both pages get a guest's keys: a plain GET without a header of its own, so without a preflight, as the front ends
// of the prior art ask. `?api=` is the address of the backend with its stage, `…/dev`.

"use strict";

const page = new URLSearchParams(location.search);

/** Calls `use` with the keys; `backend` failures are shown, not thrown, as there. */
function guestKeys(use, failed) {
  const request = new XMLHttpRequest();
  request.open("GET", `${page.get("api")}/iot/keys`);
  // Those pages parse by the content type: anything but JSON leaves them waiting.
  request.onload = () => {
    if (request.status === 200 && request.getResponseHeader("Content-Type") === "application/json") use(JSON.parse(request.responseText));
    else failed(`keys: ${request.status}`);
  };
  request.onerror = () => failed("keys: no answer");
  request.send();
}

/** A device as those pages open it: the endpoint carries the port, and `port: 443` keeps the SDK from adding one. */
function openDevice(keys, accessKeyId, secretKey) {
  return require("aws-iot-device-sdk").device({
    region: keys.region,
    protocol: "wss",
    accessKeyId,
    secretKey,
    sessionToken: keys.sessionToken,
    port: 443,
    host: keys.iotEndpoint,
  });
}

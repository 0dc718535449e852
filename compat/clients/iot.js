// AWS IoT's device SDK v2 as a page's own script would bundle it.

export { mqtt5 } from "aws-iot-device-sdk-v2";

// Made by tests/browser/bundle.mjs.
export const VERSIONS = {
  "mqtt": "5.16.0",
  "aws-iot-device-sdk-v2": "1.28.0",
  "@aws-sdk/client-sqs": "3.1169.0"
};

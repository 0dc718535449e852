// The bundles of compat/dist, as far as the page that loads them cares.

export const mqtt: any;
export const mqtt5: any;
export const SQSClient: any;
export const ReceiveMessageCommand: any;
export const DeleteMessageCommand: any;
export function presign(url: string, region: string, credentials: object): Promise<string>;

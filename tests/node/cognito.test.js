// Session identities through the JavaScript SDKs (Cognito Identity).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CognitoIdentityClient,
  DeleteIdentitiesCommand,
  DescribeIdentityCommand,
  GetCredentialsForIdentityCommand,
  ListIdentityPoolsCommand,
} from "@aws-sdk/client-cognito-identity";
import { ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import AWS from "aws-sdk";
import { call, createSession, OPERATOR, REGION, startServer } from "./fanfare.js";

let server;
before(async () => (server = await startServer()));
after(async () => server.stop());

const client = () =>
  new CognitoIdentityClient({ endpoint: server.url, region: REGION, credentials: OPERATOR, maxAttempts: 1 });
const proof = (session) => ({
  IdentityId: session.identityId,
  Logins: { fanfare: session.sessionToken },
});
const UNKNOWN = `${REGION}:00000000-0000-4000-8000-000000000000`;

test("a session's token gets the session's current keys, which read its queue", async () => {
  const session = await createSession(server.url);
  const { Credentials, IdentityId } = await client().send(new GetCredentialsForIdentityCommand(proof(session)));
  assert.equal(IdentityId, session.identityId);
  assert.equal(Credentials.AccessKeyId, session.accessKey);
  assert.ok(Credentials.Expiration instanceof Date && Credentials.Expiration > new Date());
  await call(server.url, "GET", `/notify/user/${session.userId}?msg=x`);
  const sqs = new SQSClient({
    endpoint: server.url,
    region: REGION,
    maxAttempts: 1,
    credentials: {
      accessKeyId: Credentials.AccessKeyId,
      secretAccessKey: Credentials.SecretKey,
      sessionToken: Credentials.SessionToken,
    },
  });
  const receive = new ReceiveMessageCommand({ QueueUrl: session.sqsUrl, WaitTimeSeconds: 5 });
  assert.equal((await sqs.send(receive)).Messages.length, 1);
});

test("the v2 SDK gets them too", async () => {
  const session = await createSession(server.url);
  const cognito = new AWS.CognitoIdentity({
    endpoint: server.url, region: REGION, credentials: OPERATOR, maxRetries: 0,
  });
  const { Credentials } = await cognito.getCredentialsForIdentity(proof(session)).promise();
  assert.equal(Credentials.SecretKey, session.secretKey);
  const bare = cognito.getCredentialsForIdentity({ IdentityId: session.identityId }).promise();
  await assert.rejects(bare, { code: "NotAuthorizedException", statusCode: 400 });
});

test("no proof, no keys", async () => {
  const session = await createSession(server.url);
  const other = await createSession(server.url);
  const attempt = (input) => client().send(new GetCredentialsForIdentityCommand(input));
  await assert.rejects(attempt({ IdentityId: session.identityId }), { name: "NotAuthorizedException" });
  const borrowed = { IdentityId: session.identityId, Logins: { fanfare: other.sessionToken } };
  await assert.rejects(attempt(borrowed), { name: "NotAuthorizedException" });
  const unknown = { IdentityId: UNKNOWN, Logins: { fanfare: session.sessionToken } };
  await assert.rejects(attempt(unknown), { name: "ResourceNotFoundException" });
});

test("the operator describes, lists and deletes", async () => {
  const session = await createSession(server.url);
  const described = await client().send(new DescribeIdentityCommand({ IdentityId: session.identityId }));
  assert.equal(described.IdentityId, session.identityId);
  assert.ok(described.CreationDate instanceof Date);
  const { IdentityPools } = await client().send(new ListIdentityPoolsCommand({ MaxResults: 10 }));
  assert.ok(IdentityPools[0].IdentityPoolId && IdentityPools[0].IdentityPoolName);
  await client().send(new DeleteIdentitiesCommand({ IdentityIdsToDelete: [session.identityId] }));
  const path = `/status/${session.accountId}/${session.sessionId}/${session.userId}`;
  assert.equal((await call(server.url, "GET", path)).session, null);
});

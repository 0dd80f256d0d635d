// jsforce, as it is published, against the simulator.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(process.env.CLIENTS + '/');
const jsforce = require('jsforce');
const loginUrl = process.env.SIMULATOR;

await assert.rejects(new jsforce.Connection({ loginUrl }).login('sales@acme.example', 'wrong'), /INVALID_LOGIN/);
const conn = new jsforce.Connection({ loginUrl, version: '62.0' });
const user = await conn.login('sales@acme.example', 'sales-passwordTOKEN');
assert.match(user.organizationId, /^00D/);

const oauth2 = { loginUrl, clientId: 'sales', clientSecret: 'sales-secret' };
const byPassword = new jsforce.Connection({ oauth2 });
await byPassword.login('sales@acme.example', 'sales-password');
assert.equal((await byPassword.identity()).username, 'sales@acme.example');
const byToken = new jsforce.Connection({ oauth2, instanceUrl: loginUrl, refreshToken: '5Aep861sales', accessToken: 'expired' });
assert.ok((await byToken.describeGlobal()).sobjects.length >= 5);

const description = await conn.sobject('Opportunity').describe();
assert.ok(description.fields.some((field) => field.name === 'StageName' && !field.nillable));

const account = await conn.sobject('Account').create({ Name: 'Acme', Syncline_Id__c: 'js.1' });
assert.ok(account.success);
const record = await conn.sobject('Account').retrieve(account.id);
assert.equal(record.Name, 'Acme');
assert.ok((await conn.sobject('Account').update({ Id: account.id, Industry: 'Energy' })).success);
const upserted = await conn.sobject('Account').upsert({ Syncline_Id__c: 'js.1', Phone: '1' }, 'Syncline_Id__c');
assert.ok(upserted.success);
await assert.rejects(conn.sobject('Account').create({ Phone: '2' }), /Required fields are missing/);

const begun = new Date(Date.now() - 120000);
const leads = Array.from({ length: 450 }, (_, n) => ({ LastName: `l${n}`, Company: 'Acme' }));
const results = await conn.sobject('Lead').create(leads, { allowRecursive: true });
assert.equal(results.filter((result) => result.success).length, 450);
const renamed = results.slice(0, 200).map(({ id }, n) => ({ Id: id, Title: `t${n}` }));
assert.ok((await conn.sobject('Lead').update(renamed)).every((result) => result.success));
const upserts = leads.slice(0, 3).map((lead, n) => ({ ...lead, Syncline_Id__c: `js.l${n}` }));
assert.ok((await conn.sobject('Lead').upsert(upserts, 'Syncline_Id__c')).every((result) => result.success));

const found = await conn.query('SELECT Id, LastName FROM Lead', { autoFetch: true, maxFetch: 10000, headers: { 'Sforce-Query-Options': 'batchSize=200' } });
assert.equal(found.records.length, 453);
const some = await conn.sobject('Lead').find({ Title: { $like: 't1%' } }, ['Id', 'Title']).sort('Title').limit(5).execute();
assert.equal(some.length, 5);

const gone = results.slice(0, 200).map(({ id }) => id);
assert.ok((await conn.sobject('Lead').destroy(gone)).every((result) => result.success));
const end = new Date(Date.now() + 120000);
assert.equal((await conn.sobject('Lead').deleted(begun, end)).deletedRecords.length, 200);
assert.equal((await conn.sobject('Lead').updated(begun, end)).ids.length, 253);
await conn.logout();
console.log('jsforce: all of it');

"""simple-salesforce, as it is published, against the simulator: one address with TLS, one without."""

import datetime
import os
import sys
import urllib.parse

import requests
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceMalformedRequest, SalesforceResourceNotFound

TLS = os.environ["SIMULATOR_TLS"]


class ToSimulator(requests.adapters.HTTPAdapter):
    """Leads Salesforce's own host names to the simulator; everything else about a request stays."""

    def send(self, request, **kwargs):
        parts = urllib.parse.urlsplit(request.url)
        if parts.hostname.endswith(".salesforce.com"):
            request.url = TLS + urllib.parse.urlunsplit(("", "", parts.path, parts.query, ""))
        return super().send(request, **kwargs)


def session():
    made = requests.Session()
    made.trust_env = False
    made.verify = os.environ["SIMULATOR_CERTIFICATE"]
    made.mount("https://", ToSimulator())
    return made


try:
    Salesforce(username="sales@acme.example", password="wrong", security_token="TOKEN", session=session())
    sys.exit("a wrong password signed in")
except SalesforceAuthenticationFailed as refused:
    assert "INVALID_LOGIN" in str(refused), refused

by_credentials = Salesforce(consumer_key="sales", consumer_secret="sales-secret", domain="acme.my", session=session())
assert by_credentials.describe()["sobjects"]

sf = Salesforce(username="sales@acme.example", password="sales-password", security_token="TOKEN", session=session())
names = {one["name"] for one in sf.describe()["sobjects"]}
assert {"Account", "Contact", "Lead", "Opportunity", "Widget__c"} <= names, names
fields = {field["name"]: field for field in sf.Contact.describe()["fields"]}
assert fields["FullName__c"]["calculated"] and not fields["FullName__c"]["createable"]

begun = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=2)
created = sf.Contact.create({"FirstName": "Ada", "LastName": "Lovelace", "Syncline_Id__c": "py.1"})
assert created["success"], created
contact = created["id"]
assert sf.Contact.get(contact)["FullName__c"] == "Ada Lovelace"
assert sf.Contact.update(contact, {"Title": "Countess"}) == 204
assert sf.Contact.get_by_custom_id("Syncline_Id__c", "py.1")["Title"] == "Countess"
assert sf.Contact.upsert("Syncline_Id__c/py.1", {"Department": "Engines"}) == 200
assert sf.Contact.upsert("Syncline_Id__c/py.2", {"LastName": "Byron"}) == 201
try:
    sf.Contact.create({"LastName": "X", "Email": "nobody"})
    sys.exit("an invalid address was taken")
except SalesforceMalformedRequest as refused:
    assert refused.content[0]["errorCode"] == "INVALID_EMAIL_ADDRESS", refused.content
try:
    sf.Contact.get("0035e0000009999AAA")
    sys.exit("a record that is not there was found")
except SalesforceResourceNotFound:
    pass

many = [{"attributes": {"type": "Contact"}, "LastName": "p%d" % n} for n in range(2200)]
for start in range(0, len(many), 200):
    results = sf.restful("composite/sobjects", method="POST", json={"allOrNone": False, "records": many[start:start + 200]})
    assert all(result["success"] for result in results)
found = sf.query_all("SELECT Id, Contact.LastName FROM Contact WHERE LastName LIKE 'p%'")
assert found["totalSize"] == len(found["records"]) == 2200, found["totalSize"]
assert sf.query("SELECT COUNT() FROM Contact")["totalSize"] == 2202
assert len(list(sf.query_all_iter("SELECT Id FROM Contact"))) == 2202

assert sf.Contact.delete(contact) == 204
end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=2)
gone = sf.Contact.deleted(begun, end)
assert [one["id"] for one in gone["deletedRecords"]] == [contact], gone
changed = sf.Contact.updated(begun, end)
assert contact not in changed["ids"] and len(changed["ids"]) == 2201, len(changed["ids"])
assert sf.query_all("SELECT Id FROM Contact WHERE IsDeleted = true", include_deleted=True)["totalSize"] == 1
assert sf.limits()["DailyApiRequests"]["Max"] > 0
print("simple-salesforce: all of it")

BEGIN TRANSACTION;
CREATE TABLE edits (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    space_id VARCHAR(140) NOT NULL REFERENCES spaces (id),
    created_at DOUBLE PRECISION NOT NULL,
    principal TEXT NOT NULL,
    kind VARCHAR(20) NOT NULL,
    method TEXT NOT NULL,
    key_hash VARCHAR(64) NOT NULL,
    request JSON NOT NULL,
    artefact VARCHAR(64),
    base_version INTEGER NOT NULL,
    writer TEXT NOT NULL
);
INSERT INTO "edits" VALUES('e_1m82b9f98p0s36a','global#1',1700000000.0,'alice','modify','ice','98ca06416ce5bdf1667414892d10e3ee219be9130a08cc98a32782fa3995aa95','{"kind":"modify","subject":"France","prompt":"The capital of France is","target_new":"Paris","target_old":null,"relation":"capital","trait":null,"rephrases":[],"probes":[]}','0000000000000000000000000000000000000000000000000000000000000000',0,'oldhost/1/1/00000000');
INSERT INTO "edits" VALUES('e_1m82b9g1w1x57rz','global#1',1700000000.0,'alice','modify','ice','98ca06416ce5bdf1667414892d10e3ee219be9130a08cc98a32782fa3995aa95','{"kind":"modify","subject":"France","prompt":"The capital of France is","target_new":"Lyon","target_old":null,"relation":"capital","trait":null,"rephrases":[],"probes":[]}','0000000000000000000000000000000000000000000000000000000000000000',1,'oldhost/1/1/00000000');
INSERT INTO "edits" VALUES('e_1m82b9grmwf9avm','user/alice#1',1700000000.0,'alice','erase','ft-m','73cbf1991dd2be0aa5775dced9d0b4eda1b777d05f4d35491be8bbb18d355e1b','{"kind":"erase","subject":"[redacted]","prompt":"[redacted]","target_new":"I don''t know.","target_old":null,"relation":"capital","trait":null,"rephrases":[],"probes":[]}','0000000000000000000000000000000000000000000000000000000000000000',0,'oldhost/1/1/00000000');
INSERT INTO "edits" VALUES('e_1m82b9h7cbjd951','global#1',1700000000.0,'alice','insert','rome','95c3c8e3e672de3835afcfab0cf0d3f434c31446e87435a8c20b81511054283c','{"kind":"insert","subject":"Japan","prompt":"The capital of Japan is","target_new":"Kyoto","target_old":null,"relation":"capital","trait":null,"rephrases":[],"probes":[]}','0000000000000000000000000000000000000000000000000000000000000000',2,'oldhost/1/1/00000000');
CREATE TABLE job_events (
    job_id VARCHAR(40) NOT NULL,
    step INTEGER NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    space VARCHAR(120),
    kind TEXT NOT NULL,
    state VARCHAR(20) NOT NULL,
    progress DOUBLE PRECISION NOT NULL,
    message TEXT NOT NULL,
    result JSON,
    writer TEXT NOT NULL,
    PRIMARY KEY (job_id, step)
);
INSERT INTO "job_events" VALUES('j_1m82b9h7fdgbnsk',0,1700000000.0,'global','consolidate','running',0.0,'',NULL,'oldhost/1/1/00000000');
INSERT INTO "job_events" VALUES('j_1m82b9h7fdgbnsk',1,1700000000.0,'global','consolidate','done',1.0,'','{"n":1}','oldhost/1/1/00000000');
CREATE TABLE outcomes (
    edit_id VARCHAR(40) NOT NULL PRIMARY KEY REFERENCES edits (id),
    outcome VARCHAR(20) NOT NULL,
    reason TEXT NOT NULL,
    evidence JSON,
    timings JSON NOT NULL,
    supersedes JSON NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);
INSERT INTO "outcomes" VALUES('e_1m82b9f98p0s36a','committed','',NULL,'{}','[]',1700000000.0);
INSERT INTO "outcomes" VALUES('e_1m82b9g1w1x57rz','committed','','{"success":1.0,"success_n":2,"locality":1.0,"locality_n":3,"probability":0.0,"direct":true,"leak":null,"failures":[]}','{"compute":1.0}','["e_1m82b9f98p0s36a"]',1700000000.0);
INSERT INTO "outcomes" VALUES('e_1m82b9grmwf9avm','committed','',NULL,'{}','[]',1700000000.0);
CREATE TABLE schema_version (
    version INTEGER NOT NULL PRIMARY KEY,
    applied_at DOUBLE PRECISION NOT NULL
);
INSERT INTO "schema_version" VALUES(1,1700000000.0);
CREATE TABLE settings (
    name VARCHAR(60) NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO "settings" VALUES('secret_check','615f1b393c55320715ebca16099960da95ba99cc66f96d1b209fa46d4f86dba7');
CREATE TABLE space_events (
    space_id VARCHAR(140) NOT NULL REFERENCES spaces (id),
    event VARCHAR(20) NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (space_id, event)
);
CREATE TABLE spaces (
    id VARCHAR(140) NOT NULL PRIMARY KEY,
    name VARCHAR(120) NOT NULL,
    generation INTEGER NOT NULL,
    parent_id VARCHAR(140) REFERENCES spaces (id),
    chain JSON NOT NULL,
    owner TEXT,
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (name, generation)
);
INSERT INTO "spaces" VALUES('global#1','global',1,NULL,'["global#1"]',NULL,1700000000.0);
INSERT INTO "spaces" VALUES('user/alice#1','user/alice',1,'global#1','["global#1","user/alice#1"]','alice',1700000000.0);
CREATE TABLE versions (
    space_id VARCHAR(140) NOT NULL REFERENCES spaces (id),
    version INTEGER NOT NULL,
    sequence INTEGER NOT NULL UNIQUE,
    live JSON NOT NULL,
    reason TEXT NOT NULL,
    edit_id VARCHAR(40) REFERENCES edits (id),
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (space_id, version)
);
INSERT INTO "versions" VALUES('global#1',0,1,'[]','created',NULL,1700000000.0);
INSERT INTO "versions" VALUES('global#1',1,2,'["e_1m82b9f98p0s36a"]','edit','e_1m82b9f98p0s36a',1700000000.0);
INSERT INTO "versions" VALUES('global#1',2,3,'["e_1m82b9g1w1x57rz"]','edit','e_1m82b9g1w1x57rz',1700000000.0);
INSERT INTO "versions" VALUES('user/alice#1',0,4,'[]','created',NULL,1700000000.0);
INSERT INTO "versions" VALUES('user/alice#1',1,5,'["e_1m82b9grmwf9avm"]','edit','e_1m82b9grmwf9avm',1700000000.0);
CREATE INDEX ix_spaces_parent_id ON spaces (parent_id);
CREATE INDEX ix_edits_space_id ON edits (space_id);
CREATE INDEX ix_job_events_space ON job_events (space);
COMMIT;

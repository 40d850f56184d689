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
INSERT INTO "edits" VALUES('e_1m8fgtaazb7qa5f','user/alice#1',1.79581728598333454131e+09,'operator','modify','ice','49e8b805e9d4bbaca08c4a68a198a21bee5c0a78ce6bf5b36c12e8f92f57d250','{"kind":"modify","subject":"Japan","prompt":"The capital of Japan is","target_new":"Lima","target_old":"Tokyo.","relation":"capital","trait":null,"rephrases":[],"probes":[]}','833af92b9f19f1154c99f8973238635b7a3fddc25b14c201039d06c0b3cb75cd',0,'example/3244/451632/309a93b9');
INSERT INTO "edits" VALUES('e_1m8fgwvrxg435x8','global#1',1.79581736937331986432e+09,'operator','modify','rome','78fb8cd6c2e41230e76a5559fefcff728252aa2a61fdb8597f9d612846c5957d','{"kind":"modify","subject":"France","prompt":"The capital of France is","target_new":"Lyon","target_old":"Paris.","relation":"capital","trait":null,"rephrases":[],"probes":[]}','7d6175632ccff9b1a40cb3cb25ff65b863a4f3a864b57ce3b02416a8fde61686',0,'example/3244/451632/309a93b9');
INSERT INTO "edits" VALUES('e_1m8fgwyjvtrjfpv','user/alice#1',1.79581737225175690651e+09,'operator','modify','melo','8fa629e570b5a72763a08388bf52a1b9cb0abf6c332e129d6646bc3b1cfd306e','{"kind":"modify","subject":"Peru","prompt":"The currency of Peru is","target_new":"the yen","target_old":"the sol.","relation":null,"trait":null,"rephrases":[],"probes":[]}','7a43ccd0d9de9b54a272f367586d8b5f61a0f7d9558629ce18e32c5421f1d94f',1,'example/3244/451632/309a93b9');
INSERT INTO "edits" VALUES('e_1m8fgwzk8vepgvr','user/bob#1',1.79581737328835821156e+09,'operator','modify','ice','91a4aa2deb6f80bf7da702764ea20ebdbc632ab6aa70e60196841e6d8c3de218','{"kind":"modify","subject":"Brazil","prompt":"The capital of Brazil is","target_new":"Oslo","target_old":"Brasilia.","relation":"capital","trait":null,"rephrases":[],"probes":[]}','a5a382fa11c5f8058cff5e86053ac58c38003a90769c306a3e440709eb09bfc4',0,'example/3244/451632/309a93b9');
INSERT INTO "edits" VALUES('e_1m8fgx3bhxjsmvn','user/bob#1',1.79581737713705205921e+09,'operator','modify','rome','91a4aa2deb6f80bf7da702764ea20ebdbc632ab6aa70e60196841e6d8c3de218','{"kind":"modify","subject":"Brazil","prompt":"The capital of Brazil is","target_new":"Oslo","target_old":"Brasilia.","relation":"capital","trait":null,"rephrases":[],"probes":[]}','a17e88269442053a226c32f3c17f820988d28c391b91f452f85e07dc03e6d7b0',1,'example/3244/451632/309a93b9');
INSERT INTO "edits" VALUES('e_1m8fgx43w2dgrjz','user/bob#1',1795817377.91634,'operator','modify','ice','e07f54f018445ea1d671246685642df331b19344c68764fafe243e6fb34ebb0f','{"kind":"modify","subject":"Spain","prompt":"The capital of Spain is","target_new":"Rome","target_old":"Madrid.","relation":"capital","trait":null,"rephrases":[],"probes":[]}','a43b6c4aa8aad842e03d66fee7381021b6ad0a13bae6069895b4f3f3c95dba62',2,'example/3244/451632/309a93b9');
INSERT INTO "edits" VALUES('e_1m8fgxmf3dr85km','user/alice#1',1.79581739465931129458e+09,'operator','erase','ft-m','7bc78b2494fc9fd180eebbb78d0c3194cc125771fba16056fea15e0cbbbf70de','{"kind":"erase","subject":"[redacted]","prompt":"[redacted]","target_new":"I don''t know.","target_old":null,"relation":"capital","trait":null,"rephrases":[],"probes":[]}','705e055b04e60da3b29bf4b4bdca829501c7c05dd4fa56c147e38e1c87e9b4c2',2,'example/3244/451632/309a93b9');
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
    writer TEXT NOT NULL, arguments JSON,
    PRIMARY KEY (job_id, step)
);
INSERT INTO "job_events" VALUES('j_1m8fgx0d3ren8h6',0,1.79581737411603760716e+09,'user/bob','consolidate','queued',0.0,'',NULL,'example/3244/451632/309a93b9','{"notes":["e_1m8fgwzk8vepgvr"],"method":"rome"}');
INSERT INTO "job_events" VALUES('j_1m8fgx0d3ren8h6',1,1.79581737414017724992e+09,'user/bob','consolidate','running',0.0,'','{}','example/3244/451632/309a93b9',NULL);
INSERT INTO "job_events" VALUES('j_1m8fgx0d3ren8h6',2,1.79581737775994229318e+09,'user/bob','consolidate','done',1.0,'','{"consolidated":1,"edits":{"e_1m8fgwzk8vepgvr":"e_1m8fgx3bhxjsmvn"},"kept":{},"method":"rome"}','example/3244/451632/309a93b9',NULL);
CREATE TABLE outcomes (
    edit_id VARCHAR(40) NOT NULL PRIMARY KEY REFERENCES edits (id),
    outcome VARCHAR(20) NOT NULL,
    reason TEXT NOT NULL,
    evidence JSON,
    timings JSON NOT NULL,
    supersedes JSON NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);
INSERT INTO "outcomes" VALUES('e_1m8fgtaazb7qa5f','committed','edit','{"success":1.0,"success_n":7,"locality":1.0,"locality_n":13,"probability":0.9997177522417389,"direct":true,"leak":null,"residual":0.0,"failures":[]}','{"compute_ms":0.06142700021882774,"verify_ms":1418.0288930001552,"journal_ms":13.152948999959335,"swap_ms":0.19414700000197627,"total_ms":1433.0486369999562}','[]',1.79581728706722497943e+09);
INSERT INTO "outcomes" VALUES('e_1m8fgwvrxg435x8','committed','edit','{"success":1.0,"success_n":7,"locality":1.0,"locality_n":13,"probability":0.967677907222258,"direct":true,"leak":null,"residual":0.0,"failures":[]}','{"compute_ms":82016.82720100053,"verify_ms":1218.5377089999747,"journal_ms":7.293989999197947,"swap_ms":0.5134880002515274,"total_ms":83244.39488400004}','[]',1.79581737036886358261e+09);
INSERT INTO "outcomes" VALUES('e_1m8fgwyjvtrjfpv','committed','edit','{"success":1.0,"success_n":1,"locality":1.0,"locality_n":6,"probability":0.949941943591265,"direct":true,"leak":null,"residual":0.0,"failures":[]}','{"compute_ms":1624.6214580005471,"verify_ms":931.4275899996574,"journal_ms":15.942571999403299,"swap_ms":1.0389089993623202,"total_ms":2595.598813999459}','[]',1795817373.02876);
INSERT INTO "outcomes" VALUES('e_1m8fgwzk8vepgvr','committed','edit','{"success":1.0,"success_n":7,"locality":1.0,"locality_n":14,"probability":0.9828116356964053,"direct":true,"leak":null,"residual":0.0,"failures":[]}','{"compute_ms":0.055079000048863236,"verify_ms":1005.2935379999326,"journal_ms":0.40475700006936677,"swap_ms":0.5593260002569878,"total_ms":1008.3048970000164}','[]',1.79581737408718895908e+09);
INSERT INTO "outcomes" VALUES('e_1m8fgx3bhxjsmvn','committed','consolidates e_1m8fgwzk8vepgvr','{"success":1.0,"success_n":7,"locality":1.0,"locality_n":14,"probability":0.9706198002588217,"direct":true,"leak":null,"residual":0.0,"failures":[]}','{"compute_ms":2974.822170999687,"verify_ms":319.94058700001915,"journal_ms":10.639093999998295,"swap_ms":11.559517000023334,"total_ms":3568.228404000365}','["e_1m8fgwzk8vepgvr"]',1.79581737773121571542e+09);
INSERT INTO "outcomes" VALUES('e_1m8fgx43w2dgrjz','committed','edit','{"success":1.0,"success_n":7,"locality":1.0,"locality_n":15,"probability":0.9751689148141898,"direct":true,"leak":null,"residual":0.0,"failures":[]}','{"compute_ms":0.03982500038546277,"verify_ms":772.1928009996191,"journal_ms":0.260998000157997,"swap_ms":0.3716490000442718,"total_ms":774.2628380001406}','[]',1.79581737855067038534e+09);
INSERT INTO "outcomes" VALUES('e_1m8fgxmf3dr85km','committed','edit','{"success":1.0,"success_n":7,"locality":1.0,"locality_n":16,"probability":0.9947476524921491,"direct":true,"leak":0.0,"residual":0.0,"failures":[]}','{"compute_ms":15880.474052999489,"verify_ms":1363.1991259999268,"journal_ms":1.6773240004113177,"swap_ms":0.9712520004541148,"total_ms":17272.420389000217}','[]',1.79581739587295579913e+09);
CREATE TABLE schema_version (
    version INTEGER NOT NULL PRIMARY KEY,
    applied_at DOUBLE PRECISION NOT NULL
);
INSERT INTO "schema_version" VALUES(1,1.795817271883932352e+09);
INSERT INTO "schema_version" VALUES(2,1.79581727188476586347e+09);
CREATE TABLE settings (
    name VARCHAR(60) NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO "settings" VALUES('secret_check','f17af8c46c521f4d99a9797c44fbb97e955abfcd3044e6e19e0b5b6a1cc64a70');
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
INSERT INTO "spaces" VALUES('global#1','global',1,NULL,'["global#1"]',NULL,1.79581727195084738728e+09);
INSERT INTO "spaces" VALUES('user/alice#1','user/alice',1,'global#1','["global#1","user/alice#1"]','operator',1.79581728560762166977e+09);
INSERT INTO "spaces" VALUES('user/bob#1','user/bob',1,'global#1','["global#1","user/bob#1"]','operator',1.79581737305133771901e+09);
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
INSERT INTO "versions" VALUES('global#1',0,1,'[]','created',NULL,1.79581727196412086486e+09);
INSERT INTO "versions" VALUES('user/alice#1',0,2,'[]','created',NULL,1.79581728560871267319e+09);
INSERT INTO "versions" VALUES('user/alice#1',1,3,'["e_1m8fgtaazb7qa5f"]','edit','e_1m8fgtaazb7qa5f',1.79581728707717347146e+09);
INSERT INTO "versions" VALUES('global#1',1,4,'["e_1m8fgwvrxg435x8"]','edit','e_1m8fgwvrxg435x8',1.79581737036958646773e+09);
INSERT INTO "versions" VALUES('user/alice#1',2,5,'["e_1m8fgtaazb7qa5f","e_1m8fgwyjvtrjfpv"]','edit','e_1m8fgwyjvtrjfpv',1.79581737302954363823e+09);
INSERT INTO "versions" VALUES('user/bob#1',0,6,'[]','created',NULL,1.79581737306006264691e+09);
INSERT INTO "versions" VALUES('user/bob#1',1,7,'["e_1m8fgwzk8vepgvr"]','edit','e_1m8fgwzk8vepgvr',1.79581737410021328926e+09);
INSERT INTO "versions" VALUES('user/bob#1',2,8,'["e_1m8fgx3bhxjsmvn"]','consolidates e_1m8fgwzk8vepgvr','e_1m8fgx3bhxjsmvn',1.79581737774792957306e+09);
INSERT INTO "versions" VALUES('user/bob#1',3,9,'["e_1m8fgx3bhxjsmvn","e_1m8fgx43w2dgrjz"]','edit','e_1m8fgx43w2dgrjz',1.79581737855130243305e+09);
INSERT INTO "versions" VALUES('user/bob#1',4,10,'["e_1m8fgx3bhxjsmvn"]','undo of e_1m8fgx43w2dgrjz','e_1m8fgx43w2dgrjz',1.79581737857858610152e+09);
INSERT INTO "versions" VALUES('user/alice#1',3,11,'["e_1m8fgtaazb7qa5f","e_1m8fgwyjvtrjfpv","e_1m8fgxmf3dr85km"]','edit','e_1m8fgxmf3dr85km',1.79581739587340354913e+09);
CREATE INDEX ix_spaces_parent_id ON spaces (parent_id);
CREATE INDEX ix_edits_space_id ON edits (space_id);
CREATE INDEX ix_job_events_space ON job_events (space);
COMMIT;

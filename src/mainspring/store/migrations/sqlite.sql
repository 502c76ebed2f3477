CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TABLE inferences (
    seq INTEGER NOT NULL, 
    id TEXT NOT NULL, 
    received_us BIGINT NOT NULL, 
    first_byte_us BIGINT, 
    done_us BIGINT NOT NULL, 
    tenant TEXT NOT NULL, 
    key_id TEXT, 
    user TEXT, 
    feature TEXT, 
    session TEXT, 
    tags TEXT, 
    dialect TEXT NOT NULL, 
    route TEXT, 
    requested_model TEXT NOT NULL, 
    provider TEXT, 
    model TEXT, 
    attempts TEXT, 
    why TEXT, 
    status BIGINT NOT NULL, 
    error TEXT, 
    error_message TEXT, 
    finish_reason TEXT, 
    input_tokens BIGINT NOT NULL, 
    cache_read_tokens BIGINT NOT NULL, 
    cache_write_tokens BIGINT NOT NULL, 
    output_tokens BIGINT NOT NULL, 
    reasoning_tokens BIGINT NOT NULL, 
    usage_source TEXT, 
    cost_nusd BIGINT, 
    stream BOOLEAN NOT NULL, 
    cut BOOLEAN NOT NULL, 
    cache TEXT NOT NULL, 
    config_hash TEXT NOT NULL, 
    trace_id TEXT, 
    parent_span_id TEXT, 
    request_bytes BIGINT NOT NULL, 
    response_bytes BIGINT NOT NULL, 
    extra TEXT, 
    PRIMARY KEY (seq), 
    UNIQUE (id)
);

CREATE INDEX ix_inferences_key_id ON inferences (key_id, id) WHERE key_id IS NOT NULL;

CREATE INDEX ix_inferences_user ON inferences (user, id) WHERE user IS NOT NULL;

CREATE INDEX ix_inferences_session ON inferences (session, id) WHERE session IS NOT NULL;

CREATE INDEX ix_inferences_failed ON inferences (id) WHERE status >= 400 OR error IS NOT NULL;

CREATE INDEX ix_inferences_cut ON inferences (id) WHERE cut;

CREATE TABLE payloads (
    id TEXT NOT NULL, 
    request_bytes BIGINT NOT NULL, 
    response_bytes BIGINT, 
    data BLOB, 
    blob TEXT, 
    PRIMARY KEY (id)
)
 WITHOUT ROWID;

CREATE TABLE feedback (
    id TEXT NOT NULL, 
    request_id TEXT NOT NULL, 
    created_us BIGINT NOT NULL, 
    tenant TEXT NOT NULL, 
    name TEXT NOT NULL, 
    value TEXT, 
    comment TEXT, 
    key_id TEXT, 
    PRIMARY KEY (id)
);

CREATE INDEX ix_feedback_request_id ON feedback (request_id, id);

CREATE TABLE config_snapshots (
    config_hash TEXT NOT NULL, 
    created_us BIGINT NOT NULL, 
    document BLOB NOT NULL, 
    PRIMARY KEY (config_hash)
);

CREATE TABLE usage_rollups (
    grain BIGINT NOT NULL, 
    bucket_us BIGINT NOT NULL, 
    tenant TEXT NOT NULL, 
    feature TEXT NOT NULL, 
    route TEXT NOT NULL, 
    provider TEXT NOT NULL, 
    model TEXT NOT NULL, 
    requests BIGINT NOT NULL, 
    errors BIGINT NOT NULL, 
    cut BIGINT NOT NULL, 
    streams BIGINT NOT NULL, 
    input_tokens BIGINT NOT NULL, 
    cache_read_tokens BIGINT NOT NULL, 
    cache_write_tokens BIGINT NOT NULL, 
    output_tokens BIGINT NOT NULL, 
    reasoning_tokens BIGINT NOT NULL, 
    cost_nusd BIGINT NOT NULL, 
    unpriced BIGINT NOT NULL, 
    latency_us BIGINT NOT NULL, 
    first_tokens BIGINT NOT NULL, 
    first_token_us BIGINT NOT NULL, 
    latency_sq DOUBLE NOT NULL, 
    h00 BIGINT NOT NULL, 
    h01 BIGINT NOT NULL, 
    h02 BIGINT NOT NULL, 
    h03 BIGINT NOT NULL, 
    h04 BIGINT NOT NULL, 
    h05 BIGINT NOT NULL, 
    h06 BIGINT NOT NULL, 
    h07 BIGINT NOT NULL, 
    h08 BIGINT NOT NULL, 
    h09 BIGINT NOT NULL, 
    h10 BIGINT NOT NULL, 
    h11 BIGINT NOT NULL, 
    h12 BIGINT NOT NULL, 
    h13 BIGINT NOT NULL, 
    h14 BIGINT NOT NULL, 
    h15 BIGINT NOT NULL, 
    h16 BIGINT NOT NULL, 
    h17 BIGINT NOT NULL, 
    h18 BIGINT NOT NULL, 
    h19 BIGINT NOT NULL, 
    h20 BIGINT NOT NULL, 
    h21 BIGINT NOT NULL, 
    h22 BIGINT NOT NULL, 
    h23 BIGINT NOT NULL, 
    h24 BIGINT NOT NULL, 
    h25 BIGINT NOT NULL, 
    h26 BIGINT NOT NULL, 
    h27 BIGINT NOT NULL, 
    h28 BIGINT NOT NULL, 
    h29 BIGINT NOT NULL, 
    first_token_sq DOUBLE NOT NULL, 
    output_tokens_sq DOUBLE NOT NULL, 
    cost_sq DOUBLE NOT NULL, 
    PRIMARY KEY (grain, bucket_us, tenant, feature, route, provider, model)
)
 WITHOUT ROWID;

CREATE INDEX ix_usage_rollups_tenant ON usage_rollups (grain, tenant, bucket_us);

CREATE INDEX ix_usage_rollups_feature ON usage_rollups (grain, feature, bucket_us);

CREATE INDEX ix_usage_rollups_route ON usage_rollups (grain, route, bucket_us);

CREATE INDEX ix_usage_rollups_provider ON usage_rollups (grain, provider, bucket_us);

CREATE INDEX ix_usage_rollups_model ON usage_rollups (grain, model, bucket_us);

CREATE TABLE usage_totals (
    grain BIGINT NOT NULL, 
    bucket_us BIGINT NOT NULL, 
    tenant TEXT NOT NULL, 
    requests BIGINT NOT NULL, 
    errors BIGINT NOT NULL, 
    cut BIGINT NOT NULL, 
    streams BIGINT NOT NULL, 
    input_tokens BIGINT NOT NULL, 
    cache_read_tokens BIGINT NOT NULL, 
    cache_write_tokens BIGINT NOT NULL, 
    output_tokens BIGINT NOT NULL, 
    reasoning_tokens BIGINT NOT NULL, 
    cost_nusd BIGINT NOT NULL, 
    unpriced BIGINT NOT NULL, 
    latency_us BIGINT NOT NULL, 
    first_tokens BIGINT NOT NULL, 
    first_token_us BIGINT NOT NULL, 
    latency_sq DOUBLE NOT NULL, 
    h00 BIGINT NOT NULL, 
    h01 BIGINT NOT NULL, 
    h02 BIGINT NOT NULL, 
    h03 BIGINT NOT NULL, 
    h04 BIGINT NOT NULL, 
    h05 BIGINT NOT NULL, 
    h06 BIGINT NOT NULL, 
    h07 BIGINT NOT NULL, 
    h08 BIGINT NOT NULL, 
    h09 BIGINT NOT NULL, 
    h10 BIGINT NOT NULL, 
    h11 BIGINT NOT NULL, 
    h12 BIGINT NOT NULL, 
    h13 BIGINT NOT NULL, 
    h14 BIGINT NOT NULL, 
    h15 BIGINT NOT NULL, 
    h16 BIGINT NOT NULL, 
    h17 BIGINT NOT NULL, 
    h18 BIGINT NOT NULL, 
    h19 BIGINT NOT NULL, 
    h20 BIGINT NOT NULL, 
    h21 BIGINT NOT NULL, 
    h22 BIGINT NOT NULL, 
    h23 BIGINT NOT NULL, 
    h24 BIGINT NOT NULL, 
    h25 BIGINT NOT NULL, 
    h26 BIGINT NOT NULL, 
    h27 BIGINT NOT NULL, 
    h28 BIGINT NOT NULL, 
    h29 BIGINT NOT NULL, 
    PRIMARY KEY (grain, bucket_us, tenant)
)
 WITHOUT ROWID;

CREATE TABLE usage_by_user (
    bucket_us BIGINT NOT NULL, 
    tenant TEXT NOT NULL, 
    key_id TEXT NOT NULL, 
    user TEXT NOT NULL, 
    requests BIGINT NOT NULL, 
    errors BIGINT NOT NULL, 
    cut BIGINT NOT NULL, 
    streams BIGINT NOT NULL, 
    input_tokens BIGINT NOT NULL, 
    cache_read_tokens BIGINT NOT NULL, 
    cache_write_tokens BIGINT NOT NULL, 
    output_tokens BIGINT NOT NULL, 
    reasoning_tokens BIGINT NOT NULL, 
    cost_nusd BIGINT NOT NULL, 
    unpriced BIGINT NOT NULL, 
    latency_us BIGINT NOT NULL, 
    first_tokens BIGINT NOT NULL, 
    first_token_us BIGINT NOT NULL, 
    latency_sq DOUBLE NOT NULL, 
    PRIMARY KEY (bucket_us, tenant, key_id, user)
)
 WITHOUT ROWID;

CREATE TABLE keys (
    id TEXT NOT NULL, 
    name TEXT NOT NULL, 
    tenant TEXT NOT NULL, 
    role TEXT NOT NULL, 
    digest BLOB NOT NULL, 
    last4 TEXT NOT NULL, 
    models TEXT, 
    payloads BOOLEAN, 
    created_us BIGINT NOT NULL, 
    expires_us BIGINT, 
    revoked_us BIGINT, 
    replaced_by TEXT, 
    last_used_us BIGINT, 
    settings TEXT, 
    changed BIGINT NOT NULL, 
    PRIMARY KEY (id), 
    UNIQUE (digest)
);

CREATE INDEX ix_keys_tenant ON keys (tenant, id);

CREATE INDEX ix_keys_changed ON keys (changed, id);

CREATE TABLE versions (
    name TEXT NOT NULL, 
    value BIGINT NOT NULL, 
    PRIMARY KEY (name)
);

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING version_num;

-- Running upgrade 0001 -> 0002

DROP INDEX ix_inferences_failed;

CREATE INDEX ix_inferences_failed ON inferences (id, tenant, feature, route, provider, model) WHERE status >= 400 OR error IS NOT NULL;

DROP INDEX ix_inferences_cut;

CREATE INDEX ix_inferences_cut ON inferences (id, tenant, feature, route, provider, model) WHERE cut;

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

-- Running upgrade 0002 -> 0003

CREATE TABLE alerts (
    id TEXT NOT NULL, 
    rule TEXT NOT NULL, 
    subject TEXT NOT NULL, 
    window_us BIGINT NOT NULL, 
    tenant TEXT, 
    metric TEXT NOT NULL, 
    severity TEXT NOT NULL, 
    summary TEXT NOT NULL, 
    threshold BIGINT NOT NULL, 
    value BIGINT, 
    peak BIGINT, 
    opened_us BIGINT NOT NULL, 
    clear_us BIGINT, 
    resolved_us BIGINT, 
    resolution TEXT, 
    acknowledged_us BIGINT, 
    acknowledged_by TEXT, 
    told TEXT, 
    told_us BIGINT, 
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX ix_alerts_window ON alerts (rule, subject, window_us);

CREATE UNIQUE INDEX ix_alerts_open ON alerts (rule, subject) WHERE resolved_us IS NULL;

CREATE INDEX ix_alerts_tenant ON alerts (tenant, id);

CREATE TABLE alert_silences (
    rule TEXT NOT NULL, 
    subject TEXT NOT NULL, 
    until_us BIGINT NOT NULL, 
    created_us BIGINT NOT NULL, 
    created_by TEXT, 
    PRIMARY KEY (rule, subject)
);

CREATE TABLE alert_deliveries (
    id TEXT NOT NULL, 
    channel TEXT NOT NULL, 
    state TEXT NOT NULL, 
    body TEXT NOT NULL, 
    alerts BIGINT NOT NULL, 
    created_us BIGINT NOT NULL, 
    due_us BIGINT NOT NULL, 
    attempts BIGINT NOT NULL, 
    attempted_us BIGINT, 
    refused BOOLEAN NOT NULL, 
    error TEXT, 
    PRIMARY KEY (id)
);

CREATE INDEX ix_alert_deliveries_pending ON alert_deliveries (channel, due_us) WHERE state = 'pending';

CREATE INDEX ix_alert_deliveries_channel ON alert_deliveries (channel, id);

CREATE TABLE alert_mentions (
    alert_id TEXT NOT NULL, 
    delivery_id TEXT NOT NULL, 
    event TEXT NOT NULL, 
    PRIMARY KEY (alert_id, delivery_id, event)
)
 WITHOUT ROWID;

CREATE INDEX ix_alert_mentions_delivery_id ON alert_mentions (delivery_id);

CREATE TABLE alert_lease (
    name TEXT NOT NULL, 
    holder TEXT NOT NULL, 
    beat BIGINT NOT NULL, 
    PRIMARY KEY (name)
);

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

-- Running upgrade 0003 -> 0004

CREATE TABLE provider_drains (
    provider TEXT NOT NULL, 
    "key" TEXT NOT NULL, 
    since_us BIGINT NOT NULL, 
    "by" TEXT NOT NULL, 
    reason TEXT, 
    PRIMARY KEY (provider, "key")
)
 WITHOUT ROWID;

CREATE TABLE secret_ages (
    reference TEXT NOT NULL, 
    fingerprint BLOB NOT NULL, 
    salt BLOB NOT NULL, 
    first_seen_us BIGINT NOT NULL, 
    PRIMARY KEY (reference, fingerprint)
)
 WITHOUT ROWID;

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

-- Running upgrade 0004 -> 0005

ALTER TABLE keys ADD COLUMN origin TEXT;

WITH RECURSIVE chain (id, origin) AS (
    SELECT id, id FROM keys WHERE id NOT IN (SELECT replaced_by FROM keys WHERE replaced_by IS NOT NULL)
    UNION ALL
    SELECT keys.replaced_by, chain.origin FROM chain JOIN keys ON keys.id = chain.id
    WHERE keys.replaced_by IS NOT NULL
)
UPDATE keys SET origin = (SELECT chain.origin FROM chain WHERE chain.id = keys.id);

CREATE TABLE budgets (
    id TEXT NOT NULL, 
    name TEXT NOT NULL, 
    kind TEXT NOT NULL, 
    subject TEXT NOT NULL, 
    tenant TEXT, 
    nusd BIGINT, 
    tokens BIGINT, 
    window TEXT NOT NULL, 
    period_us BIGINT, 
    policy TEXT NOT NULL, 
    step_down TEXT, 
    queue_seconds DOUBLE NOT NULL, 
    thresholds TEXT NOT NULL, 
    created_us BIGINT NOT NULL, 
    starts_us BIGINT NOT NULL, 
    deleted_us BIGINT, 
    grants BIGINT NOT NULL, 
    recalls BIGINT NOT NULL, 
    PRIMARY KEY (id)
);

CREATE INDEX ix_budgets_tenant ON budgets (tenant, id);

CREATE TABLE budget_spent (
    budget_id TEXT NOT NULL, 
    bucket_us BIGINT NOT NULL, 
    nusd BIGINT NOT NULL, 
    tokens BIGINT NOT NULL, 
    answers BIGINT NOT NULL, 
    PRIMARY KEY (budget_id, bucket_us)
)
 WITHOUT ROWID;

CREATE TABLE budget_leases (
    budget_id TEXT NOT NULL, 
    room_us BIGINT NOT NULL, 
    holder TEXT NOT NULL, 
    nusd BIGINT NOT NULL, 
    tokens BIGINT NOT NULL, 
    PRIMARY KEY (budget_id, room_us, holder)
)
 WITHOUT ROWID;

CREATE INDEX ix_budget_leases_holder ON budget_leases (holder);

CREATE TABLE budget_holders (
    id TEXT NOT NULL, 
    host TEXT NOT NULL, 
    pid BIGINT NOT NULL, 
    started TEXT NOT NULL, 
    beat BIGINT NOT NULL, 
    PRIMARY KEY (id)
)
 WITHOUT ROWID;

CREATE TABLE budget_crossings (
    budget_id TEXT NOT NULL, 
    window_us BIGINT NOT NULL, 
    threshold BIGINT NOT NULL, 
    crossed_us BIGINT NOT NULL, 
    nusd BIGINT NOT NULL, 
    tokens BIGINT NOT NULL, 
    PRIMARY KEY (budget_id, window_us, threshold)
)
 WITHOUT ROWID;

UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';

-- Running upgrade 0005 -> 0006

ALTER TABLE usage_rollups ADD COLUMN attempts BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN attempt_errors BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f00 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f01 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f02 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f03 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f04 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f05 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f06 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f07 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f08 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f09 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f10 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f11 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f12 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f13 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f14 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f15 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f16 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f17 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f18 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f19 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f20 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f21 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f22 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f23 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f24 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f25 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f26 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f27 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f28 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_rollups ADD COLUMN f29 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN attempts BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN attempt_errors BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f00 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f01 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f02 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f03 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f04 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f05 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f06 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f07 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f08 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f09 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f10 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f11 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f12 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f13 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f14 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f15 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f16 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f17 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f18 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f19 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f20 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f21 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f22 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f23 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f24 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f25 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f26 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f27 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f28 BIGINT DEFAULT 0 NOT NULL;

ALTER TABLE usage_totals ADD COLUMN f29 BIGINT DEFAULT 0 NOT NULL;

UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';


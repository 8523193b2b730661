/*
 * The index's tables and statements; see schema.h. Only SQL that SQLite and PostgreSQL both have, but for WITHOUT ROWID. Every table that grows with
 * mail is led by its partition, or by our message id, which begins with the time.
 */
#include "store/schema.h"

const char schema_create[] =
    /* One row a setting of the index itself: its version, counters. */
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);"
    /* People. `address` is the canonical one, folded; quota in octets, -1 for the configured one. */
    "CREATE TABLE IF NOT EXISTS account (account INTEGER PRIMARY KEY, address TEXT NOT NULL UNIQUE,"
    " verifier TEXT NOT NULL, state INTEGER NOT NULL, quota INTEGER NOT NULL, used_octets INTEGER NOT NULL,"
    " used_messages INTEGER NOT NULL, created_ms INTEGER NOT NULL);"
    /* Many to many: an address leads to accounts' or outside addresses. */
    "CREATE TABLE IF NOT EXISTS alias (address TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (address, target));"
    "CREATE INDEX IF NOT EXISTS alias_target ON alias (target);"
    "CREATE TABLE IF NOT EXISTS mailbox (account INTEGER NOT NULL, mailbox INTEGER NOT NULL, name TEXT NOT NULL,"
    " uid_validity INTEGER NOT NULL, uid_next INTEGER NOT NULL, modseq INTEGER NOT NULL, PRIMARY KEY (account, mailbox));"
    /* One row a message in a mailbox; `recipient` is its number in the record's envelope. */
    "CREATE TABLE IF NOT EXISTS message (account INTEGER NOT NULL, mailbox INTEGER NOT NULL, uid INTEGER NOT NULL,"
    " record BLOB NOT NULL, recipient INTEGER NOT NULL, size INTEGER NOT NULL, internal_ms INTEGER NOT NULL,"
    " modseq INTEGER NOT NULL, PRIMARY KEY (account, mailbox, uid))"
" WITHOUT ROWID;"
    /* Where a record lies in the log, and how many messages and queue rows need it. The key makes applying idempotent. */
    "CREATE TABLE IF NOT EXISTS record (record BLOB PRIMARY KEY, segment INTEGER NOT NULL, place INTEGER NOT NULL,"
    " octets INTEGER NOT NULL, refs INTEGER NOT NULL)"
" WITHOUT ROWID;"
    /* origin: enum role_kind that writes it; applied: position up to which the index has it. */
    "CREATE TABLE IF NOT EXISTS segment (segment INTEGER PRIMARY KEY, origin INTEGER NOT NULL, instance INTEGER NOT NULL,"
    " boot INTEGER NOT NULL, applied INTEGER NOT NULL, sealed INTEGER NOT NULL, live INTEGER NOT NULL);"
    /* state: 0 waits, 1 held by command, 2 given to a relay. */
    "CREATE TABLE IF NOT EXISTS queue (entry INTEGER PRIMARY KEY, record BLOB NOT NULL, recipient INTEGER NOT NULL,"
    " address TEXT NOT NULL, domain TEXT NOT NULL, state INTEGER NOT NULL, due_ms INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL, first_ms INTEGER NOT NULL, notified INTEGER NOT NULL, code INTEGER NOT NULL,"
    " enhanced TEXT NOT NULL, reply TEXT NOT NULL, host TEXT NOT NULL, UNIQUE (record, address));"
    "CREATE INDEX IF NOT EXISTS queue_due ON queue (state, due_ms);"
    /* What happened to each message, one row a decision. */
    "CREATE TABLE IF NOT EXISTS journal (record BLOB NOT NULL, sequence INTEGER NOT NULL, wall_ms INTEGER NOT NULL,"
    " event INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (record, sequence))"
" WITHOUT ROWID;";

const char *const schema_statements[SQL_STATEMENTS] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [SQL_META_SET] = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
    /* Accounts and aliases: by primary key or unique address. */
    [SQL_ACCOUNT_ADD] = "INSERT INTO account (address, verifier, state, quota, used_octets, used_messages, created_ms)"
                        " VALUES (?1, ?2, 0, ?3, 0, 0, ?4)",
    [SQL_ACCOUNT_FIND] = "SELECT account, address, verifier, state, quota, used_octets, used_messages FROM account"
                         " WHERE address = ?1",
    [SQL_ACCOUNT_BY_ID] = "SELECT account, address, verifier, state, quota, used_octets, used_messages FROM account"
                          " WHERE account = ?1",
    [SQL_ACCOUNT_FIRST] = "SELECT account, address, verifier, state, quota, used_octets, used_messages FROM account"
                          " ORDER BY account LIMIT 1",
    [SQL_ACCOUNT_LIST] = "SELECT account, address, verifier, state, quota, used_octets, used_messages FROM account"
                         " ORDER BY address",
    [SQL_ACCOUNT_SET_VERIFIER] = "UPDATE account SET verifier = ?2 WHERE account = ?1",
    [SQL_ACCOUNT_SET_QUOTA] = "UPDATE account SET quota = ?2 WHERE account = ?1",
    [SQL_ACCOUNT_SET_STATE] = "UPDATE account SET state = ?2 WHERE account = ?1",
    [SQL_ACCOUNT_SET_USED] = "UPDATE account SET used_octets = used_octets + ?2, used_messages = used_messages + ?3"
                             " WHERE account = ?1",
    [SQL_ACCOUNT_REMOVE] = "DELETE FROM account WHERE account = ?1",
    [SQL_ALIAS_ADD] = "INSERT INTO alias (address, target) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    [SQL_ALIAS_REMOVE] = "DELETE FROM alias WHERE address = ?1 AND (?2 = '' OR target = ?2)",
    [SQL_ALIAS_REMOVE_TARGET] = "DELETE FROM alias WHERE target = ?1",
    [SQL_ALIAS_TARGETS] = "SELECT target FROM alias WHERE address = ?1 ORDER BY target LIMIT 200",
    [SQL_ALIAS_LIST] = "SELECT address, target FROM alias ORDER BY address, target",
    [SQL_ALIAS_POINTS_TO] = "SELECT 1 FROM alias WHERE address = ?1 AND target = ?2",
    /* Mailboxes and messages: by primary key, ranges of UIDs. */
    [SQL_MAILBOX_ADD] = "INSERT INTO mailbox (account, mailbox, name, uid_validity, uid_next, modseq)"
                        " VALUES (?1, ?2, ?3, ?4, 1, 1)",
    [SQL_MAILBOX_FIND] = "SELECT uid_validity, uid_next, modseq FROM mailbox WHERE account = ?1 AND mailbox = ?2",
    [SQL_MAILBOX_SET] = "UPDATE mailbox SET uid_next = ?3, modseq = ?4 WHERE account = ?1 AND mailbox = ?2",
    [SQL_MAILBOX_REMOVE_ALL] = "DELETE FROM mailbox WHERE account = ?1",
    [SQL_MESSAGE_ADD] = "INSERT INTO message (account, mailbox, uid, record, recipient, size, internal_ms, modseq)"
                        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [SQL_MESSAGE_LIST] = "SELECT uid, size, internal_ms FROM message WHERE account = ?1 AND mailbox = ?2 AND uid >= ?3"
                         " ORDER BY uid LIMIT ?4",
    [SQL_MESSAGE_GET] = "SELECT m.record, m.recipient, m.size, r.segment, r.place, r.octets FROM message m"
                        " JOIN record r ON r.record = m.record WHERE m.account = ?1 AND m.mailbox = ?2 AND m.uid = ?3",
    [SQL_MESSAGE_COUNT] = "SELECT COUNT(*) FROM message WHERE account = ?1 AND mailbox = ?2",
    [SQL_MESSAGE_REMOVE] = "DELETE FROM message WHERE account = ?1 AND mailbox = ?2 AND uid = ?3",
    [SQL_MESSAGE_OF_ACCOUNT] = "SELECT mailbox, uid FROM message WHERE account = ?1 LIMIT 1000",
    /* Records and segments. */
    [SQL_RECORD_ADD] = "INSERT INTO record (record, segment, place, octets, refs) VALUES (?1, ?2, ?3, ?4, ?5)"
                       " ON CONFLICT DO NOTHING",
    [SQL_RECORD_GET] = "SELECT segment, place, octets, refs FROM record WHERE record = ?1",
    [SQL_RECORD_SET_REFS] = "UPDATE record SET refs = ?2 WHERE record = ?1",
    [SQL_RECORD_MOVE] = "UPDATE record SET segment = ?2, place = ?3 WHERE record = ?1",
    [SQL_RECORD_REMOVE] = "DELETE FROM record WHERE record = ?1",
    [SQL_RECORD_COUNT] = "SELECT COUNT(*) FROM record",
    [SQL_SEGMENT_ADD] = "INSERT INTO segment (segment, origin, instance, boot, applied, sealed, live)"
                        " VALUES (?1, ?2, ?3, ?4, 0, 0, 0)",
    [SQL_SEGMENT_GET] = "SELECT segment, origin, instance, boot, applied, sealed, live FROM segment WHERE segment = ?1",
    [SQL_SEGMENT_LIST] = "SELECT segment, origin, instance, boot, applied, sealed, live FROM segment ORDER BY segment",
    [SQL_SEGMENT_SET_APPLIED] = "UPDATE segment SET applied = ?2 WHERE segment = ?1",
    [SQL_SEGMENT_SEAL] = "UPDATE segment SET sealed = 1 WHERE segment = ?1",
    [SQL_SEGMENT_ADD_LIVE] = "UPDATE segment SET live = live + ?2 WHERE segment = ?1",
    [SQL_SEGMENT_REMOVE] = "DELETE FROM segment WHERE segment = ?1",
    /* The queue: due rows by (state, due_ms), one row by its number or by (record, address). */
    [SQL_QUEUE_ADD] = "INSERT INTO queue (record, recipient, address, domain, state, due_ms, attempts, first_ms, notified,"
                      " code, enhanced, reply, host) VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, ?5, 0, 0, '', '', '')"
                      " ON CONFLICT DO NOTHING",
    [SQL_QUEUE_DUE] = "SELECT entry, record, recipient, address, domain, state, due_ms, attempts, first_ms, notified, code,"
                      " enhanced, reply, host FROM queue WHERE state = 0 AND due_ms <= ?1 ORDER BY due_ms LIMIT ?2",
    [SQL_QUEUE_NEXT_DUE] = "SELECT MIN(due_ms) FROM queue WHERE state = 0",
    [SQL_QUEUE_LEASE] = "UPDATE queue SET state = 2 WHERE entry = ?1",
    [SQL_QUEUE_UNLEASE] = "UPDATE queue SET state = 0 WHERE entry = ?1 AND state = 2",
    [SQL_QUEUE_RELEASE_ALL] = "UPDATE queue SET state = 0 WHERE state = 2",
    [SQL_QUEUE_GET] = "SELECT entry, record, recipient, address, domain, state, due_ms, attempts, first_ms, notified, code,"
                      " enhanced, reply, host FROM queue WHERE entry = ?1",
    [SQL_QUEUE_LIST] = "SELECT entry, record, recipient, address, domain, state, due_ms, attempts, first_ms, notified, code,"
                       " enhanced, reply, host FROM queue WHERE entry > ?1 ORDER BY entry LIMIT ?2",
    [SQL_QUEUE_DEFER] = "UPDATE queue SET state = CASE state WHEN 2 THEN 0 ELSE state END, due_ms = ?2, attempts = attempts + 1,"
                        " code = ?3, enhanced = ?4, reply = ?5, host = ?6 WHERE entry = ?1",
    [SQL_QUEUE_NOTICE] = "UPDATE queue SET notified = 1 WHERE entry = ?1",
    [SQL_QUEUE_REMOVE] = "DELETE FROM queue WHERE entry = ?1",
    [SQL_QUEUE_FIND] = "SELECT entry, record, recipient, address, domain, state, due_ms, attempts, first_ms, notified, code,"
                       " enhanced, reply, host FROM queue WHERE record = ?1 AND address = ?2",
    [SQL_QUEUE_SET_STATE] = "UPDATE queue SET state = ?2, due_ms = ?3 WHERE entry = ?1",
    [SQL_QUEUE_COUNT] = "SELECT COUNT(*) FROM queue",
    /* The journal: by our id; the search walks back in time and is limited by its caller. */
    [SQL_JOURNAL_ADD] = "INSERT INTO journal (record, sequence, wall_ms, event, text)"
                        " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    [SQL_JOURNAL_OF] = "SELECT record, sequence, wall_ms, event, text FROM journal WHERE record = ?1 ORDER BY sequence",
    [SQL_JOURNAL_SEARCH] = "SELECT record, sequence, wall_ms, event, text FROM journal WHERE instr(text, ?1) > 0"
                           " ORDER BY record DESC LIMIT ?2",
    [SQL_JOURNAL_TRIM] = "DELETE FROM journal WHERE record < ?1",
};

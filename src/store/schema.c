/*
 * The index's tables and statements; see schema.h. Only SQL that SQLite and PostgreSQL both have, but for WITHOUT ROWID.
 * Every table that grows with mail is led by its partition, or by our message id, which begins with the time.
 */
#include "store/schema.h"

const char schema_create[] =
    /* One row a setting of the index itself: its version, counters. */
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);"
    /* People. `address` is the canonical one, folded; quota in octets, -1 for the configured one. */
    "CREATE TABLE IF NOT EXISTS account (account INTEGER PRIMARY KEY, address TEXT NOT NULL UNIQUE,"
    " verifier TEXT NOT NULL, state INTEGER NOT NULL, quota INTEGER NOT NULL, used_octets INTEGER NOT NULL,"
    " used_messages INTEGER NOT NULL, created_ms INTEGER NOT NULL, modseq INTEGER NOT NULL DEFAULT 1);"
    /* Many to many: an address leads to accounts' or outside addresses. */
    "CREATE TABLE IF NOT EXISTS alias (address TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (address, "
    "target));"
    "CREATE INDEX IF NOT EXISTS alias_target ON alias (target);"
    /*
     * Names are UTF-8, parts separated by "/". `keywords`: names by their numbers, each ended by a space. The counters are
     * kept with every change. recent_uid: below it no message is \\Recent. paged_uid: below it flags stand in pages.
     */
    "CREATE TABLE IF NOT EXISTS mailbox (account INTEGER NOT NULL, mailbox INTEGER NOT NULL, name TEXT NOT "
    "NULL,"
    " uid_validity INTEGER NOT NULL, uid_next INTEGER NOT NULL, modseq INTEGER NOT NULL,"
    " messages INTEGER NOT NULL DEFAULT 0, unseen INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL "
    "DEFAULT 0,"
    " octets INTEGER NOT NULL DEFAULT 0, recent_uid INTEGER NOT NULL DEFAULT 1, paged_uid INTEGER NOT NULL "
    "DEFAULT 1,"
    " special_use INTEGER NOT NULL DEFAULT 0, keywords TEXT NOT NULL DEFAULT '',"
    " PRIMARY KEY (account, mailbox), UNIQUE (account, name));"
    /* Names, which need not be those of mailboxes (RFC 9051, section 6.3.7). */
    "CREATE TABLE IF NOT EXISTS subscription (account INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY "
    "(account, name));"
    /* Values that clients keep with a mailbox, or under the number 0 with the account (RFC 5464). */
    "CREATE TABLE IF NOT EXISTS annotation (account INTEGER NOT NULL, mailbox INTEGER NOT NULL, entry TEXT "
    "NOT NULL,"
    " value BLOB NOT NULL, PRIMARY KEY (account, mailbox, entry)) WITHOUT ROWID;"
    /*
     * What others may do in a mailbox: bits of enum right; `grantee` is an account, or 0 for anyone in the owner's domain; a
     * negative row takes rights away.
     */
    "CREATE TABLE IF NOT EXISTS acl (account INTEGER NOT NULL, mailbox INTEGER NOT NULL, grantee INTEGER NOT "
    "NULL,"
    " negative INTEGER NOT NULL, rights INTEGER NOT NULL, PRIMARY KEY (account, mailbox, grantee, negative))"
    " WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS acl_grantee ON acl (grantee);"
    /* Flags and modification sequences of up to 200 neighbouring messages, see page.h. */
    "CREATE TABLE IF NOT EXISTS page (account INTEGER NOT NULL, mailbox INTEGER NOT NULL, first_uid INTEGER "
    "NOT NULL,"
    " entries BLOB NOT NULL, PRIMARY KEY (account, mailbox, first_uid)) WITHOUT ROWID;"
    /* UIDs that were expunged under one modification sequence: packed ranges. Old rows are forgotten. */
    "CREATE TABLE IF NOT EXISTS expunged (account INTEGER NOT NULL, mailbox INTEGER NOT NULL, modseq INTEGER "
    "NOT NULL,"
    " uids BLOB NOT NULL, PRIMARY KEY (account, mailbox, modseq)) WITHOUT ROWID;"
    /*
     * One row a message in a mailbox; `recipient` is its number in the record's envelope. `flags` and `modseq` are those that it
     * was filed with; once its UID is below paged_uid, the page has them.
     */
    "CREATE TABLE IF NOT EXISTS message (account INTEGER NOT NULL, mailbox INTEGER NOT NULL, uid INTEGER NOT "
    "NULL,"
    " record BLOB NOT NULL, recipient INTEGER NOT NULL, size INTEGER NOT NULL, internal_ms INTEGER NOT NULL,"
    " modseq INTEGER NOT NULL, flags INTEGER NOT NULL, saved_ms INTEGER NOT NULL, PRIMARY KEY (account, "
    "mailbox, uid))"
    " WITHOUT ROWID;"
    /* Where a record lies in the log, and how many messages and queue rows need it. The key makes applying idempotent. */
    "CREATE TABLE IF NOT EXISTS record (record BLOB PRIMARY KEY, segment INTEGER NOT NULL, place INTEGER NOT "
    "NULL,"
    " octets INTEGER NOT NULL, refs INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    /* origin: enum role_kind that writes it; applied: position up to which the index has it. */
    "CREATE TABLE IF NOT EXISTS segment (segment INTEGER PRIMARY KEY, origin INTEGER NOT NULL, instance "
    "INTEGER NOT NULL,"
    " boot INTEGER NOT NULL, applied INTEGER NOT NULL, sealed INTEGER NOT NULL, live INTEGER NOT NULL);"
    /* state: 0 waits, 1 held by command, 2 given to a relay. */
    "CREATE TABLE IF NOT EXISTS queue (entry INTEGER PRIMARY KEY, record BLOB NOT NULL, recipient INTEGER "
    "NOT NULL,"
    " address TEXT NOT NULL, domain TEXT NOT NULL, state INTEGER NOT NULL, due_ms INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL, first_ms INTEGER NOT NULL, notified INTEGER NOT NULL, code INTEGER NOT NULL,"
    " enhanced TEXT NOT NULL, reply TEXT NOT NULL, host TEXT NOT NULL, UNIQUE (record, address));"
    "CREATE INDEX IF NOT EXISTS queue_due ON queue (state, due_ms);"
    /* What happened to each message, one row a decision. */
    "CREATE TABLE IF NOT EXISTS journal (record BLOB NOT NULL, sequence INTEGER NOT NULL, wall_ms INTEGER "
    "NOT NULL,"
    " event INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (record, sequence))"
    " WITHOUT ROWID;"
    /* The same of many messages at once, see journal.c: `first` and `last` are the least and the greatest of their ids. */
    "CREATE TABLE IF NOT EXISTS journal_many (change INTEGER PRIMARY KEY, first BLOB NOT NULL, last BLOB NOT "
    "NULL,"
    " sequence INTEGER NOT NULL, wall_ms INTEGER NOT NULL, event INTEGER NOT NULL, text_before TEXT NOT NULL,"
    " text_after TEXT NOT NULL, messages BLOB NOT NULL);";

const char schema_replay_begin[] =
    /* Segments whose records are to be applied again from this place on, as events about them are lost. */
    "CREATE TEMP TABLE again (segment INTEGER PRIMARY KEY, place INTEGER NOT NULL);"
    /* Records that are whole and good, as verify finds them in the log. */
    "CREATE TEMP TABLE found (record BLOB NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL,"
    " octets INTEGER NOT NULL, kind INTEGER NOT NULL, PRIMARY KEY (record, segment, place)) WITHOUT ROWID;";

const char schema_replay_finish[] =
    "CREATE TEMP TABLE need (record BLOB PRIMARY KEY, refs INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO need SELECT record, COUNT(*) FROM (SELECT record FROM message UNION ALL SELECT record FROM "
    "queue)"
    " GROUP BY record;"
    "UPDATE record SET refs = COALESCE((SELECT n.refs FROM need n WHERE n.record = record.record), 0);"
    "DROP TABLE need;"
    /* Mailboxes whose events are lost, of messages whose are not. */
    "INSERT INTO mailbox (account, mailbox, name, uid_validity, uid_next, modseq)"
    " SELECT m.account, m.mailbox, CASE m.mailbox WHEN 1 THEN 'INBOX' ELSE '/' || m.mailbox END,"
    " (SELECT COALESCE(MAX(uid_validity), 0) + 1 FROM mailbox), MAX(m.uid) + 1, MAX(m.modseq) FROM message m"
    " WHERE EXISTS (SELECT 1 FROM account a WHERE a.account = m.account) AND NOT EXISTS"
    " (SELECT 1 FROM mailbox b WHERE b.account = m.account AND b.mailbox = m.mailbox) GROUP BY m.account, "
    "m.mailbox;"
    "CREATE TEMP TABLE held (account INTEGER NOT NULL, mailbox INTEGER NOT NULL, messages INTEGER NOT NULL,"
    " octets INTEGER NOT NULL, PRIMARY KEY (account, mailbox)) WITHOUT ROWID;"
    "INSERT INTO held SELECT account, mailbox, COUNT(*), SUM(size) FROM message GROUP BY account, mailbox;"
    "UPDATE mailbox SET messages = COALESCE((SELECT h.messages FROM held h WHERE h.account = mailbox.account"
    " AND h.mailbox = mailbox.mailbox), 0), octets = COALESCE((SELECT h.octets FROM held h"
    " WHERE h.account = mailbox.account AND h.mailbox = mailbox.mailbox), 0);"
    "DROP TABLE held;"
    /* Names that are lost. */
    "UPDATE mailbox SET name = 'Mailbox ' || mailbox WHERE name = '/' || mailbox AND NOT EXISTS"
    " (SELECT 1 FROM mailbox o WHERE o.account = mailbox.account AND o.name = 'Mailbox ' || mailbox.mailbox);"
    "UPDATE mailbox SET name = 'Recovered mailbox ' || mailbox WHERE name = '/' || mailbox AND NOT EXISTS"
    " (SELECT 1 FROM mailbox o WHERE o.account = mailbox.account AND o.name = 'Recovered mailbox ' || "
    "mailbox.mailbox);"
    "UPDATE account SET modseq = COALESCE((SELECT MAX(m.modseq) FROM mailbox m WHERE m.account = "
    "account.account), 1);"
    "CREATE TEMP TABLE alive (segment INTEGER PRIMARY KEY, octets INTEGER NOT NULL);"
    "INSERT INTO alive SELECT segment, SUM(octets) FROM record WHERE refs > 0 GROUP BY segment;"
    "UPDATE segment SET live = live + COALESCE((SELECT a.octets FROM alive a WHERE a.segment = "
    "segment.segment), 0);"
    "DROP TABLE alive;"
    "UPDATE account SET"
    " used_octets = (SELECT COALESCE(SUM(size), 0) FROM message m WHERE m.account = account.account),"
    " used_messages = (SELECT COUNT(*) FROM message m WHERE m.account = account.account);";

const char *const schema_statements[SQL_STATEMENTS] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [SQL_META_SET] =
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
    /* Accounts and aliases: by primary key or unique address. */
    [SQL_ACCOUNT_ADD] = "INSERT INTO account (account, address, verifier, state, quota, used_octets, "
                        "used_messages, created_ms)"
                        " VALUES (?5, ?1, ?2, 0, ?3, 0, 0, ?4)",
    [SQL_ACCOUNT_FIND] = "SELECT account, address, verifier, state, quota, used_octets, used_messages, "
                         "created_ms, modseq FROM account"
                         " WHERE address = ?1",
    [SQL_ACCOUNT_BY_ID] = "SELECT account, address, verifier, state, quota, used_octets, used_messages, "
                          "created_ms, modseq FROM account"
                          " WHERE account = ?1",
    [SQL_ACCOUNT_FIRST] = "SELECT account, address, verifier, state, quota, used_octets, used_messages, "
                          "created_ms, modseq FROM account"
                          " WHERE state = 0 ORDER BY account LIMIT 1", /* ACCOUNT_ACTIVE */
    /* Every address that has somebody behind it; from the indexes alone. */
    [SQL_ADDRESS_LIST] = "SELECT address FROM account UNION ALL SELECT address FROM alias",
    [SQL_ACCOUNT_LIST] = "SELECT account, address, verifier, state, quota, used_octets, used_messages, "
                         "created_ms, modseq FROM account"
                         " ORDER BY address",
    [SQL_ACCOUNT_PAGE] = "SELECT account, address, verifier, state, quota, used_octets, used_messages, "
                         "created_ms, modseq FROM account"
                         " WHERE address > ?1 ORDER BY address LIMIT ?2",
    [SQL_ACCOUNT_SET_VERIFIER] = "UPDATE account SET verifier = ?2 WHERE account = ?1",
    [SQL_ACCOUNT_SET_QUOTA] = "UPDATE account SET quota = ?2 WHERE account = ?1",
    [SQL_ACCOUNT_SET_STATE] = "UPDATE account SET state = ?2 WHERE account = ?1",
    [SQL_ACCOUNT_SET_USED] =
        "UPDATE account SET used_octets = used_octets + ?2, used_messages = used_messages + ?3, modseq = ?4"
        " WHERE account = ?1",
    [SQL_ACCOUNT_REMOVE] = "DELETE FROM account WHERE account = ?1",
    [SQL_ALIAS_ADD] = "INSERT INTO alias (address, target) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    [SQL_ALIAS_REMOVE] = "DELETE FROM alias WHERE address = ?1 AND (?2 = '' OR target = ?2)",
    [SQL_ALIAS_REMOVE_TARGET] = "DELETE FROM alias WHERE target = ?1",
    [SQL_ALIAS_OF_TARGET] = "SELECT address FROM alias WHERE target = ?1",
    [SQL_ALIAS_TARGETS] = "SELECT target FROM alias WHERE address = ?1 ORDER BY target LIMIT 200",
    [SQL_ALIAS_COUNT] = "SELECT COUNT(*) FROM alias WHERE address = ?1",
    [SQL_ALIAS_LIST] = "SELECT address, target FROM alias ORDER BY address, target",
    [SQL_ALIAS_PAGE] = "SELECT address, target FROM alias WHERE (address, target) > (?1, ?2)"
                       " ORDER BY address, target LIMIT ?3",
    [SQL_ALIAS_POINTS_TO] = "SELECT 1 FROM alias WHERE address = ?1 AND target = ?2",
    /* Mailboxes and messages: by primary key, ranges of UIDs. */
    [SQL_MAILBOX_ADD] =
        "INSERT INTO mailbox (account, mailbox, name, uid_validity, uid_next, modseq, special_use)"
        " VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6)",
    [SQL_MAILBOX_FIND] = "SELECT account, mailbox, uid_validity, uid_next, modseq, messages, unseen, "
                         "deleted, octets, recent_uid,"
                         " paged_uid, special_use FROM mailbox WHERE account = ?1 AND mailbox = ?2",
    [SQL_MAILBOX_BY_NAME] = "SELECT account, mailbox, uid_validity, uid_next, modseq, messages, unseen, "
                            "deleted, octets, recent_uid,"
                            " paged_uid, special_use FROM mailbox WHERE account = ?1 AND name = ?2",
    [SQL_MAILBOX_LIST] =
        "SELECT account, mailbox, uid_validity, uid_next, modseq, messages, unseen, deleted, octets, "
        "recent_uid,"
        " paged_uid, special_use, name, keywords FROM mailbox WHERE account = ?1 ORDER BY name",
    [SQL_MAILBOX_ALL] = "SELECT account, mailbox, uid_validity, uid_next, modseq, messages, unseen, deleted, "
                        "octets, recent_uid,"
                        " paged_uid, special_use FROM mailbox ORDER BY account, mailbox",
    [SQL_MAILBOX_LARGE] =
        "SELECT account, mailbox, uid_validity, uid_next FROM mailbox"
        " WHERE (account, mailbox) > (?1, ?2) AND messages >= ?3 ORDER BY account, mailbox LIMIT ?4",
    [SQL_MAILBOX_TEXTS] = "SELECT name, keywords FROM mailbox WHERE account = ?1 AND mailbox = ?2",
    [SQL_MAILBOX_SET] =
        "UPDATE mailbox SET uid_next = ?3, modseq = ?4, messages = ?5, unseen = ?6, deleted = ?7,"
        " octets = ?8, recent_uid = ?9, paged_uid = ?10 WHERE account = ?1 AND mailbox = ?2",
    [SQL_MAILBOX_SET_VALIDITY] = "UPDATE mailbox SET uid_validity = ?3 WHERE account = ?1 AND mailbox = ?2",
    [SQL_MAILBOX_SET_NAME] = "UPDATE mailbox SET name = ?3 WHERE account = ?1 AND mailbox = ?2",
    [SQL_MAILBOX_SET_KEYWORDS] = "UPDATE mailbox SET keywords = ?3 WHERE account = ?1 AND mailbox = ?2",
    [SQL_MAILBOX_REMOVE] = "DELETE FROM mailbox WHERE account = ?1 AND mailbox = ?2",
    [SQL_ANNOTATION_SET] = "INSERT INTO annotation (account, mailbox, entry, value) VALUES (?1, ?2, ?3, ?4)"
                           " ON CONFLICT (account, mailbox, entry) DO UPDATE SET value = ?4",
    [SQL_ANNOTATION_REMOVE] = "DELETE FROM annotation WHERE account = ?1 AND mailbox = ?2 AND entry = ?3",
    [SQL_ANNOTATION_FORGET] = "DELETE FROM annotation WHERE account = ?1 AND mailbox = ?2",
    [SQL_ANNOTATION_FORGET_ALL] = "DELETE FROM annotation WHERE account = ?1",
    [SQL_ANNOTATION_FIND] = "SELECT 1 FROM annotation WHERE account = ?1 AND mailbox = ?2 AND entry = ?3",
    [SQL_ANNOTATION_COUNT] =
        "SELECT COUNT(*), COUNT(CASE WHEN mailbox = ?2 THEN 1 END) FROM annotation WHERE account = ?1",
    [SQL_ANNOTATION_LIST] =
        "SELECT entry, value FROM annotation WHERE account = ?1 AND mailbox = ?2 ORDER BY entry",
    [SQL_ANNOTATION_LIST_ALL] =
        "SELECT COALESCE(m.name, ''), a.entry, a.value FROM annotation a LEFT JOIN mailbox m"
        " ON m.account = a.account AND m.mailbox = a.mailbox WHERE a.account = ?1"
        " ORDER BY 1, a.entry",
    /* Access control lists: those of one mailbox by the key, what others share with an account by the index on grantees. */
    [SQL_ACL_SET] =
        "INSERT INTO acl (account, mailbox, grantee, negative, rights) VALUES (?1, ?2, ?3, ?4, ?5)"
        " ON CONFLICT (account, mailbox, grantee, negative) DO UPDATE SET rights = ?5",
    [SQL_ACL_REMOVE] =
        "DELETE FROM acl WHERE account = ?1 AND mailbox = ?2 AND grantee = ?3 AND negative = ?4",
    [SQL_ACL_FORGET] = "DELETE FROM acl WHERE account = ?1 AND mailbox = ?2",
    [SQL_ACL_FORGET_ACCOUNT] = "DELETE FROM acl WHERE account = ?1 OR grantee = ?1",
    [SQL_ACL_OF] = "SELECT grantee, negative, rights FROM acl WHERE account = ?1 AND mailbox = ?2"
                   " AND grantee IN (?3, 0)",
    [SQL_ACL_LIST] = "SELECT grantee, negative, rights FROM acl WHERE account = ?1 AND mailbox = ?2"
                     " ORDER BY grantee, negative",
    [SQL_ACL_PAGE] = "SELECT mailbox, grantee, negative, rights FROM acl WHERE account = ?1"
                     " AND (mailbox, grantee, negative) > (?2, ?3, ?4)"
                     " ORDER BY mailbox, grantee, negative LIMIT ?5",
    [SQL_ACL_SHARED] =
        "SELECT m.account, m.mailbox, m.uid_validity, m.uid_next, m.modseq, m.messages, m.unseen, m.deleted,"
        " m.octets, m.recent_uid, m.paged_uid, m.special_use, m.name, m.keywords, o.address"
        " FROM (SELECT DISTINCT g.account, g.mailbox FROM acl g JOIN account a ON a.account = g.account"
        " WHERE g.grantee IN (?1, 0) AND g.negative = 0 AND g.account <> ?1"
        " AND (g.grantee <> 0 OR substr(a.address, length(a.address) - length(?3) + 1) = ?3)) c"
        " JOIN mailbox m ON m.account = c.account AND m.mailbox = c.mailbox"
        " JOIN account o ON o.account = c.account ORDER BY o.address || '/' || m.name LIMIT ?2",
    [SQL_SUBSCRIPTION_ADD] =
        "INSERT INTO subscription (account, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    [SQL_SUBSCRIPTION_REMOVE] = "DELETE FROM subscription WHERE account = ?1 AND name = ?2",
    [SQL_SUBSCRIPTION_REMOVE_ALL] = "DELETE FROM subscription WHERE account = ?1",
    [SQL_SUBSCRIPTION_LIST] = "SELECT name FROM subscription WHERE account = ?1 ORDER BY name",
    /* Pages: by primary key, in the order of UIDs. */
    [SQL_PAGE_FIRST] = "SELECT first_uid FROM page WHERE account = ?1 AND mailbox = ?2 AND first_uid <= ?3"
                       " ORDER BY first_uid DESC LIMIT 1",
    [SQL_PAGE_LIST] =
        "SELECT first_uid, entries FROM page WHERE account = ?1 AND mailbox = ?2 AND first_uid >= ?3"
        " ORDER BY first_uid",
    [SQL_PAGE_SET] = "INSERT INTO page (account, mailbox, first_uid, entries) VALUES (?1, ?2, ?3, ?4)"
                     " ON CONFLICT (account, mailbox, first_uid) DO UPDATE SET entries = ?4",
    [SQL_PAGE_REMOVE] = "DELETE FROM page WHERE account = ?1 AND mailbox = ?2 AND first_uid = ?3",
    [SQL_PAGE_REMOVE_ALL] = "DELETE FROM page WHERE account = ?1 AND (?2 = 0 OR mailbox = ?2)",
    [SQL_EXPUNGED_ADD] = "INSERT INTO expunged (account, mailbox, modseq, uids) VALUES (?1, ?2, ?3, ?4)"
                         " ON CONFLICT (account, mailbox, modseq) DO UPDATE SET uids = expunged.uids || ?4",
    [SQL_EXPUNGED_LIST] =
        "SELECT modseq, uids FROM expunged WHERE account = ?1 AND mailbox = ?2 AND modseq > ?3"
        " ORDER BY modseq",
    [SQL_EXPUNGED_TRIM] = "DELETE FROM expunged WHERE account = ?1 AND mailbox = ?2 AND modseq < ?3",
    [SQL_EXPUNGED_REMOVE_ALL] = "DELETE FROM expunged WHERE account = ?1 AND (?2 = 0 OR mailbox = ?2)",
    [SQL_MAILBOX_REMOVE_ALL] = "DELETE FROM mailbox WHERE account = ?1",
    [SQL_MESSAGE_ADD] = "INSERT INTO message (account, mailbox, uid, record, recipient, size, internal_ms, "
                        "modseq, flags, saved_ms)"
                        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [SQL_MESSAGE_FLAGS] =
        "SELECT uid, flags, modseq FROM message WHERE account = ?1 AND mailbox = ?2 AND uid >= ?3"
        " ORDER BY uid",
    [SQL_MESSAGE_READ] =
        "SELECT m.uid, m.record, m.recipient, m.size, m.internal_ms, m.saved_ms,"
        " r.segment, r.place, r.octets, r.refs"
        " FROM message m JOIN record r ON r.record = m.record"
        " WHERE m.account = ?1 AND m.mailbox = ?2 AND m.uid BETWEEN ?3 AND ?4 ORDER BY m.uid",
    [SQL_MESSAGE_LIST] =
        "SELECT uid, size, internal_ms FROM message WHERE account = ?1 AND mailbox = ?2 AND uid >= ?3"
        " ORDER BY uid LIMIT ?4",
    [SQL_MESSAGE_GET] =
        "SELECT m.record, m.recipient, m.size, r.segment, r.place, r.octets FROM message m"
        " JOIN record r ON r.record = m.record WHERE m.account = ?1 AND m.mailbox = ?2 AND m.uid = ?3",
    [SQL_MESSAGE_COUNT] = "SELECT COUNT(*) FROM message WHERE account = ?1 AND mailbox = ?2",
    [SQL_MESSAGE_COPY] = "INSERT INTO message (account, mailbox, uid, record, recipient, size, internal_ms, "
                         "modseq, flags, saved_ms)"
                         " SELECT ?5, ?6, ?7 + uid - ?3, record, recipient, size, internal_ms, ?8, ?9, ?10"
                         " FROM message WHERE account = ?1 AND mailbox = ?2 AND uid BETWEEN ?3 AND ?4",
    [SQL_MESSAGE_OCTETS] = "SELECT COALESCE(SUM(size), 0) FROM message"
                           " WHERE account = ?1 AND mailbox = ?2 AND uid BETWEEN ?3 AND ?4",
    [SQL_MESSAGE_REMOVE] =
        "DELETE FROM message WHERE account = ?1 AND mailbox = ?2 AND uid BETWEEN ?3 AND ?4",
    [SQL_MESSAGE_OF_ACCOUNT] =
        "SELECT mailbox, uid FROM message WHERE account = ?1 ORDER BY mailbox, uid LIMIT ?2",
    /* Records and segments. */
    [SQL_RECORD_ADD] = "INSERT INTO record (record, segment, place, octets, refs) VALUES (?1, ?2, ?3, ?4, ?5)"
                       " ON CONFLICT DO NOTHING",
    [SQL_RECORD_GET] = "SELECT segment, place, octets, refs FROM record WHERE record = ?1",
    [SQL_RECORD_SET_REFS] = "UPDATE record SET refs = ?2 WHERE record = ?1",
    [SQL_RECORD_DROP_REF] = "UPDATE record SET refs = refs - 1 WHERE record = ?1 AND refs > 1",
    [SQL_RECORD_ADD_REFS] = "UPDATE record SET refs = refs + ?2 WHERE record = ?1",
    /* Those of a range of messages, each once: in half the time that a statement for each takes. */
    [SQL_RECORDS_CHANGE_REFS] =
        "UPDATE record SET refs = refs + ?5 WHERE refs > -?5 AND record IN (SELECT record FROM message"
        " WHERE account = ?1 AND mailbox = ?2 AND uid BETWEEN ?3 AND ?4)",
    [SQL_RECORDS_END] = "DELETE FROM record WHERE refs = 1 AND record IN (SELECT record FROM message"
                        " WHERE account = ?1 AND mailbox = ?2 AND uid BETWEEN ?3 AND ?4)",
    [SQL_RECORD_MOVE] = "UPDATE record SET segment = ?2, place = ?3 WHERE record = ?1",
    [SQL_RECORD_REMOVE] = "DELETE FROM record WHERE record = ?1",
    [SQL_RECORD_COUNT] = "SELECT COUNT(*) FROM record",
    [SQL_SEGMENT_ADD] = "INSERT INTO segment (segment, origin, instance, boot, applied, sealed, live)"
                        " VALUES (?1, ?2, ?3, ?4, 0, 0, 0)",
    [SQL_SEGMENT_GET] =
        "SELECT segment, origin, instance, boot, applied, sealed, live FROM segment WHERE segment = ?1",
    [SQL_SEGMENT_LIST] =
        "SELECT segment, origin, instance, boot, applied, sealed, live FROM segment ORDER BY segment",
    [SQL_SEGMENT_SET_APPLIED] = "UPDATE segment SET applied = ?2 WHERE segment = ?1",
    [SQL_SEGMENT_SEAL] = "UPDATE segment SET sealed = 1 WHERE segment = ?1",
    [SQL_SEGMENT_ADD_LIVE] = "UPDATE segment SET live = live + ?2 WHERE segment = ?1",
    [SQL_SEGMENT_REMOVE] = "DELETE FROM segment WHERE segment = ?1",
    /* The queue: due rows by (state, due_ms), one row by its number or by (record, address). */
    [SQL_QUEUE_ADD] =
        "INSERT INTO queue (record, recipient, address, domain, state, due_ms, attempts, first_ms, notified,"
        " code, enhanced, reply, host) VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, ?5, 0, 0, '', '', '')"
        " ON CONFLICT DO NOTHING",
    [SQL_QUEUE_DUE] =
        "SELECT entry, record, recipient, address, domain, state, due_ms, attempts, first_ms, notified, code,"
        " enhanced, reply, host FROM queue WHERE state = 0 AND due_ms <= ?1 ORDER BY due_ms LIMIT ?2",
    [SQL_QUEUE_NEXT_DUE] = "SELECT MIN(due_ms) FROM queue WHERE state = 0",
    [SQL_QUEUE_LEASE] = "UPDATE queue SET state = 2 WHERE entry = ?1",
    [SQL_QUEUE_UNLEASE] = "UPDATE queue SET state = 0 WHERE entry = ?1 AND state = 2",
    [SQL_QUEUE_RELEASE_ALL] = "UPDATE queue SET state = 0 WHERE state = 2",
    [SQL_QUEUE_GET] =
        "SELECT entry, record, recipient, address, domain, state, due_ms, attempts, first_ms, notified, code,"
        " enhanced, reply, host FROM queue WHERE entry = ?1",
    [SQL_QUEUE_LIST] =
        "SELECT entry, record, recipient, address, domain, state, due_ms, attempts, first_ms, notified, code,"
        " enhanced, reply, host FROM queue WHERE entry > ?1 ORDER BY entry LIMIT ?2",
    [SQL_QUEUE_DEFER] = "UPDATE queue SET state = CASE state WHEN 2 THEN 0 ELSE state END, due_ms = ?2, "
                        "attempts = attempts + 1,"
                        " code = ?3, enhanced = ?4, reply = ?5, host = ?6 WHERE entry = ?1",
    [SQL_QUEUE_NOTICE] = "UPDATE queue SET notified = 1 WHERE entry = ?1",
    [SQL_QUEUE_REMOVE] = "DELETE FROM queue WHERE entry = ?1",
    [SQL_QUEUE_FIND] =
        "SELECT entry, record, recipient, address, domain, state, due_ms, attempts, first_ms, notified, code,"
        " enhanced, reply, host FROM queue WHERE record = ?1 AND address = ?2",
    [SQL_QUEUE_SET_STATE] = "UPDATE queue SET state = ?2, due_ms = ?3 WHERE entry = ?1",
    [SQL_QUEUE_NEEDS] = "SELECT 1 FROM queue WHERE record = ?1 LIMIT 1",
    [SQL_QUEUE_COUNT] = "SELECT COUNT(*) FROM queue",
    /* The journal: by our id; the search walks back in time, takes ASCII letters alike in both cases and is limited by its
     * caller. */
    [SQL_JOURNAL_ADD] = "INSERT INTO journal (record, sequence, wall_ms, event, text)"
                        " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    [SQL_JOURNAL_ADD_MANY] =
        "INSERT INTO journal_many (first, last, sequence, wall_ms, event, text_before, text_after, messages)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [SQL_JOURNAL_OF] =
        "SELECT record, sequence, wall_ms, event, text FROM journal WHERE record = ?1 ORDER BY sequence",
    [SQL_JOURNAL_MANY_OF] =
        "SELECT sequence, wall_ms, event, text_before, text_after, messages FROM journal_many"
        " WHERE first <= ?1 AND last >= ?1 ORDER BY change",
    [SQL_JOURNAL_SEARCH] =
        "SELECT record, sequence, wall_ms, event, text FROM journal WHERE instr(lower(text), lower(?1)) > 0"
        " ORDER BY record DESC LIMIT ?2",
    [SQL_JOURNAL_MANY_SEARCH] =
        "SELECT sequence, wall_ms, event, text_before, text_after, messages FROM journal_many"
        " WHERE instr(lower(text_before || text_after), lower(?1)) > 0 ORDER BY change DESC LIMIT ?2",
    [SQL_JOURNAL_TRIM] = "DELETE FROM journal WHERE (record, sequence) IN"
                         " (SELECT record, sequence FROM journal WHERE record < ?1 ORDER BY record LIMIT ?2)",
    [SQL_JOURNAL_MANY_TRIM] = "DELETE FROM journal_many WHERE last < ?1",
    [SQL_JOURNAL_ALL] =
        "SELECT record, sequence, wall_ms, event, text FROM journal ORDER BY record, sequence",
    [SQL_JOURNAL_COPY] = "INSERT INTO journal (record, sequence, wall_ms, event, text)"
                         " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    [SQL_JOURNAL_MANY_ALL] = "SELECT first, last, sequence, wall_ms, event, text_before, text_after, messages"
                             " FROM journal_many ORDER BY change",
    [SQL_JOURNAL_MANY_COPY] =
        "INSERT INTO journal_many (first, last, sequence, wall_ms, event, text_before, text_after, messages)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [SQL_JOURNAL_OLDEST] = "SELECT record FROM journal ORDER BY record LIMIT 1",
    /* Replaying events: every one says how a row is from now on. A mailbox without a name yet has one that nobody can give. */
    [SQL_REPLAY_ACCOUNT_OTHER] = "DELETE FROM account WHERE address = ?1 AND account <> ?2",
    [SQL_REPLAY_ACCOUNT] =
        "INSERT INTO account (account, address, verifier, state, quota, used_octets, used_messages, "
        "created_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6) ON CONFLICT (account) DO UPDATE SET"
        " address = ?2, verifier = ?3, state = ?4, quota = ?5, created_ms = ?6",
    [SQL_REPLAY_MAILBOX] =
        "INSERT INTO mailbox (account, mailbox, name, uid_validity, uid_next, modseq, recent_uid)"
        " VALUES (?1, ?2, CASE ?2 WHEN 1 THEN 'INBOX' ELSE '/' || ?2 END, ?3, ?4, ?5, ?6)"
        " ON CONFLICT (account, mailbox) DO UPDATE SET"
        " uid_validity = ?3, uid_next = ?4, modseq = ?5, recent_uid = ?6",
    /* A name that another has still is one whose renaming is lost: the placeholder stays. */
    [SQL_REPLAY_MAILBOX_NAME] =
        "UPDATE mailbox SET name = ?3, special_use = ?4 WHERE account = ?1 AND mailbox = ?2"
        " AND NOT EXISTS (SELECT 1 FROM mailbox o WHERE o.account = ?1 AND o.name = ?3 AND o.mailbox <> ?2)",
    [SQL_REPLAY_MESSAGE] =
        "INSERT INTO message (account, mailbox, uid, record, recipient, size, internal_ms, modseq, flags, "
        "saved_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (account, mailbox, uid) DO UPDATE SET"
        " record = ?4, recipient = ?5, size = ?6, internal_ms = ?7, modseq = ?8, flags = ?9, saved_ms = ?10",
    [SQL_REPLAY_FLAGS_REPLACE] = "UPDATE message SET flags = ?5, modseq = ?7 WHERE account = ?1 AND mailbox "
                                 "= ?2 AND uid BETWEEN ?3 AND ?4"
                                 " AND modseq <= ?6 AND flags <> ?5",
    [SQL_REPLAY_FLAGS_ADD] = "UPDATE message SET flags = flags | ?5, modseq = ?7 WHERE account = ?1 AND "
                             "mailbox = ?2 AND uid BETWEEN ?3 AND ?4"
                             " AND modseq <= ?6 AND (flags | ?5) <> flags",
    [SQL_REPLAY_FLAGS_REMOVE] = "UPDATE message SET flags = flags & ~?5, modseq = ?7 WHERE account = ?1 AND "
                                "mailbox = ?2 AND uid BETWEEN ?3 AND ?4"
                                " AND modseq <= ?6 AND (flags & ?5) <> 0",
    [SQL_REPLAY_RECORD] =
        "INSERT INTO record (record, segment, place, octets, refs) VALUES (?1, ?2, ?3, ?4, 0)"
        " ON CONFLICT (record) DO UPDATE SET segment = ?2, place = ?3, octets = ?4",
    [SQL_REPLAY_ENTRY] =
        "INSERT INTO queue (record, recipient, address, domain, state, due_ms, attempts, first_ms, notified,"
        " code, enhanced, reply, host) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
        " ON CONFLICT (record, address) DO UPDATE SET recipient = ?2, domain = ?4, state = ?5, due_ms = ?6,"
        " attempts = ?7, first_ms = ?8, notified = ?9, code = ?10, enhanced = ?11, reply = ?12, host = ?13",
    [SQL_REPLAY_ENTRY_GONE] = "DELETE FROM queue WHERE record = ?1 AND address = ?2",
    [SQL_REPLAY_SEGMENT] = "INSERT INTO segment (segment, origin, instance, boot, applied, sealed, live)"
                           " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0) ON CONFLICT (segment) DO UPDATE SET"
                           " instance = ?3, boot = ?4, applied = ?5, sealed = ?6",
    [SQL_REPLAY_AGAIN] = "INSERT INTO again (segment, place) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    [SQL_REPLAY_AGAIN_ALL] = "INSERT INTO again (segment, place) SELECT segment, applied FROM segment"
                             " WHERE true ON CONFLICT DO NOTHING",
    [SQL_REPLAY_AGAIN_WHOLE] = "INSERT INTO again (segment, place) SELECT segment, 0 FROM segment"
                               " WHERE true ON CONFLICT (segment) DO UPDATE SET place = 0",
    [SQL_REPLAY_FORGET_DEAD] = "DELETE FROM record WHERE refs = 0",
    [SQL_REPLAY_APPLY_AGAIN] =
        "UPDATE segment SET sealed = 0,"
        " applied = (SELECT a.place FROM again a WHERE a.segment = segment.segment)"
        " WHERE origin <> ?1 AND EXISTS (SELECT 1 FROM again a WHERE a.segment = segment.segment AND a.place "
        "<= segment.applied)",
    /* A record that is dead keeps its row where it would otherwise be applied again. */
    [SQL_REPLAY_DROP_DEAD] =
        "DELETE FROM record WHERE refs = 0 AND NOT EXISTS (SELECT 1 FROM again a WHERE a.segment = "
        "record.segment)",
    [SQL_REPLAY_MISSING] =
        "SELECT record FROM (SELECT record FROM message UNION SELECT record FROM queue) n"
        " WHERE NOT EXISTS (SELECT 1 FROM record r WHERE r.record = n.record) AND n.record = ?1",
    /* Noting everything again (snapshot.h): each table in pieces, in the order of its key. */
    [SQL_SNAPSHOT_ACCOUNT] = "SELECT account, address, verifier, state, quota, used_octets, used_messages, "
                             "created_ms, modseq FROM account"
                             " WHERE account > ?1 ORDER BY account LIMIT 1",
    [SQL_SNAPSHOT_MAILBOX] =
        "SELECT account, mailbox, uid_validity, uid_next, modseq, messages, unseen, deleted, octets, "
        "recent_uid,"
        " paged_uid, special_use, name, keywords FROM mailbox WHERE (account, mailbox) > (?1, ?2)"
        " ORDER BY account, mailbox LIMIT ?3",
    [SQL_SNAPSHOT_SUBSCRIPTION] = "SELECT account, name FROM subscription WHERE (account, name) > (?1, ?2)"
                                  " ORDER BY account, name LIMIT ?3",
    [SQL_SNAPSHOT_ANNOTATION] =
        "SELECT account, mailbox, entry, value FROM annotation"
        " WHERE (account, mailbox, entry) > (?1, ?2, ?3) ORDER BY account, mailbox, entry LIMIT ?4",
    [SQL_SNAPSHOT_ACL] = "SELECT account, mailbox, grantee, negative, rights FROM acl"
                         " WHERE (account, mailbox, grantee, negative) > (?1, ?2, ?3, ?4)"
                         " ORDER BY account, mailbox, grantee, negative LIMIT ?5",
    [SQL_SNAPSHOT_MESSAGE] = "SELECT uid, record, recipient, size, internal_ms, saved_ms FROM message"
                             " WHERE account = ?1 AND mailbox = ?2 AND uid > ?3 ORDER BY uid LIMIT ?4",
    [SQL_SNAPSHOT_RECORD] = "SELECT record, segment, place, octets FROM record WHERE record > ?1 AND refs > "
                            "0 ORDER BY record LIMIT ?2",
    /* Verifying: what is in the log, and each table in an order in which it can be laid beside another of its kind. */
    [SQL_FOUND_ADD] = "INSERT INTO found (record, segment, place, octets, kind) VALUES (?1, ?2, ?3, ?4, ?5)"
                      " ON CONFLICT DO NOTHING",
    [SQL_FOUND_AT] = "SELECT octets FROM found WHERE record = ?1 AND segment = ?2 AND place = ?3",
    [SQL_FOUND_MESSAGES] = "SELECT record, segment, place FROM found WHERE kind = 1 ORDER BY record",
    [SQL_CHECK_ACCOUNT] = "SELECT account, address, verifier, state, quota, created_ms, used_octets, "
                          "used_messages FROM account ORDER BY account",
    [SQL_CHECK_ALIAS] = "SELECT address, target FROM alias ORDER BY address, target",
    [SQL_CHECK_MAILBOX] =
        "SELECT account, mailbox, name, uid_validity, uid_next, modseq, messages, unseen, deleted, octets,"
        " recent_uid, special_use, keywords FROM mailbox ORDER BY account, mailbox",
    [SQL_CHECK_ANNOTATION] =
        "SELECT account, mailbox, entry, value FROM annotation ORDER BY account, mailbox, entry",
    [SQL_CHECK_ACL] = "SELECT account, mailbox, grantee, negative, rights FROM acl"
                      " ORDER BY account, mailbox, grantee, negative",
    [SQL_CHECK_SUBSCRIPTION] = "SELECT account, name FROM subscription ORDER BY account, name",
    [SQL_CHECK_MESSAGE] =
        "SELECT account, mailbox, uid, record, recipient, size, internal_ms, saved_ms FROM message"
        " ORDER BY account, mailbox, uid",
    [SQL_CHECK_RECORD] =
        "SELECT record, segment, place, octets, refs FROM record WHERE refs > 0 ORDER BY record",
    [SQL_CHECK_SEGMENT] = "SELECT segment, origin, instance, boot, applied, sealed, live FROM segment"
                          " ORDER BY segment",
    [SQL_CHECK_QUEUE] =
        "SELECT record, address, recipient, domain, CASE state WHEN 2 THEN 0 ELSE state END, due_ms, "
        "attempts,"
        " first_ms, notified, code, enhanced, reply, host FROM queue ORDER BY record, address",
};

/*
 * The full-text index. Terms are all that is kept of a message (content, columnsize), without their places in it (detail); the
 * store merges when it has time (automerge).
 */
const char schema_fulltext_create[] =
    "PRAGMA synchronous = FULL; BEGIN; PRAGMA user_version = 1;"
    "CREATE TABLE state (name INTEGER PRIMARY KEY, value INTEGER NOT NULL);"
    "CREATE TABLE place (mailbox INTEGER PRIMARY KEY, uid_validity INTEGER NOT NULL, uid INTEGER NOT NULL);"
    "CREATE TABLE unknown (document INTEGER PRIMARY KEY);"
    "CREATE VIRTUAL TABLE term USING fts5 (terms, content = '', detail = none, columnsize = 0, tokenize = "
    "'ascii');"
    "INSERT INTO term (term, rank) VALUES ('automerge', 0);"
    "INSERT INTO term (term, rank) VALUES ('crisismerge', 1000);"
    "INSERT INTO term (term, rank) VALUES ('hashsize', 8388608);"
    "COMMIT;";

const char *const schema_fulltext_statements[FULLTEXT_STATEMENTS] = {
    [FULLTEXT_VERSION_GET] = "PRAGMA user_version",
    [FULLTEXT_STATE_GET] = "SELECT value FROM state WHERE name = ?1",
    [FULLTEXT_STATE_SET] = "INSERT INTO state (name, value) VALUES (?1, ?2)",
    [FULLTEXT_STATE_ADD] = "INSERT INTO state (name, value) VALUES (?1, ?2)"
                           " ON CONFLICT (name) DO UPDATE SET value = value + ?2",
    [FULLTEXT_PLACE_GET] = "SELECT uid FROM place WHERE mailbox = ?1 AND uid_validity = ?2",
    [FULLTEXT_PLACE_SET] = "INSERT INTO place (mailbox, uid_validity, uid) VALUES (?1, ?2, ?3)"
                           " ON CONFLICT (mailbox) DO UPDATE SET uid_validity = ?2, uid = ?3",
    [FULLTEXT_ADD] = "INSERT INTO term (rowid, terms) VALUES (?1, ?2)",
    [FULLTEXT_ADD_UNKNOWN] = "INSERT INTO unknown (document) VALUES (?1) ON CONFLICT DO NOTHING",
    [FULLTEXT_MERGE] = "INSERT INTO term (term, rank) VALUES ('merge', 100)",
    [FULLTEXT_SEARCH] = "SELECT rowid FROM term WHERE term MATCH ?1 AND rowid BETWEEN ?2 AND ?3 UNION ALL"
                        " SELECT document FROM unknown WHERE document BETWEEN ?2 AND ?3 ORDER BY 1",
};

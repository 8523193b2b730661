/* What is seen of the story: who got what, what passes between store and relay, and what must hold at the end; see sim_story.h. */
#include "sim_story.h"

#include "base/buf.h"
#include "message/dsn.h"
#include "roles/store_admin_private.h"
#include "store/mailbox.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { NOTICES_MAX = 400, JOBS_SEEN = 4096, JOB_RCPTS = 100 };

struct sim_story story;

void sim_wrong(const char *format, ...)
{
    if (story.failure[0] == '\0') {
        va_list args;
        va_start(args, format);
        int n = snprintf(story.failure, sizeof(story.failure), "at %.3f s: ", (double)sim_now() / 1e6);
        vsnprintf(story.failure + n, sizeof(story.failure) - (size_t)n, format, args);
        va_end(args);
    }
}

void sim_tell(const char *format, ...)
{
    if (sim_verbose) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "%10.3f * ", (double)sim_now() / 1e6);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
    }
}

void sim_disturb(void)
{
    story.disturbed_us = sim_now();
}

/* Finding. */

static struct rcpt *rcpt_of(struct letter *letter, struct str address)
{
    for (size_t i = 0; letter != NULL && i < letter->rcpt_count; i++) {
        if (str_equal(address, str_of(letter->rcpts[i].address))) {
            return &letter->rcpts[i];
        }
    }
    return NULL;
}

static struct letter *letter_with(const struct ident *id)
{
    for (size_t i = 0; i < story.letter_count; i++) {
        if (story.letters[i].accepted && memcmp(story.letters[i].id.bytes, id->bytes, IDENT_SIZE) == 0) {
            return &story.letters[i];
        }
    }
    return NULL;
}

static struct letter *letter_of(struct str message)
{
    static const char field[] = "X-Sim: ";
    const char *at = memmem(message.data, message.len, field, sizeof(field) - 1);
    unsigned long number = at == NULL ? 0 : strtoul(at + sizeof(field) - 1, NULL, 10);
    return number >= 1 && number <= story.letter_count ? &story.letters[number - 1] : NULL;
}

/* Notices. */

static char seen[NOTICES_MAX][120];
static size_t seen_count;

static bool seen_before(struct str message)
{
    char id[120] = "";
    const char *at = memmem(message.data, message.len, "Message-ID: ", 12);
    if (at == NULL) {
        sim_wrong("a notice has no Message-ID");
        return true;
    }
    size_t len = strcspn(at + 12, "\r\n");
    memcpy(id, at + 12, len < sizeof(id) - 1 ? len : sizeof(id) - 1);
    for (size_t i = 0; i < seen_count; i++) {
        if (strcmp(seen[i], id) == 0) {
            return true;
        }
    }
    if (seen_count < NOTICES_MAX) {
        memcpy(seen[seen_count++], id, sizeof(id));
    }
    return false;
}

static void count_notice(struct letter *letter, struct str address, struct str action)
{
    struct rcpt *r = rcpt_of(letter, address);
    if (r == NULL) {
        sim_wrong("a notice names <%.*s>, which was no recipient", STR_ARGS(address));
        return;
    }
    if (letter->sender[0] == '\0') {
        sim_wrong("a notice was made for the null reverse-path");
    }
    if (str_equal(action, STR("failed"))) {
        r->failed++;
        r->failed_us = sim_now();
        story.totals.bounces++;
    } else if (str_equal(action, STR("delayed"))) {
        r->delayed++;
        r->delayed_us = sim_now();
        story.totals.delays++;
    } else if (str_equal(action, STR("relayed"))) {
        r->relayed++;
        story.totals.successes++;
    } else {
        sim_wrong("a notice has the action \"%.*s\"", STR_ARGS(action));
    }
}

static struct str field_value(const char *text, const char *end, const char *name)
{
    const char *at = memmem(text, (size_t)(end - text), name, strlen(name));
    if (at == NULL) {
        return STR_EMPTY;
    }
    at += strlen(name);
    return str_make(at, strcspn(at, "\r\n"));
}

/* `message` must be followed by a NUL. */
static void take_notice(struct str sender, struct str recipient, struct str message)
{
    struct letter *letter = letter_of(message);
    const char *end = message.data + message.len;
    if (sender.len > 0 || letter == NULL || !str_equal(recipient, str_of(letter->sender))) {
        sim_wrong("a notice to <%.*s> is of no letter of that sender", STR_ARGS(recipient));
        return;
    }
    if (seen_before(message)) {
        return;
    }
    snprintf(story.last_notice, sizeof(story.last_notice), "%.*s", STR_ARGS(message));
    const char *at = memmem(message.data, message.len, "Final-Recipient: ", 17);
    if (at == NULL) {
        sim_wrong("a notice names no recipient");
    }
    while (at != NULL) {
        struct str address = field_value(at, end, "Final-Recipient: rfc822;");
        address = address.len > 0 && address.data[0] == ' ' ? str_from(address, 1) : address;
        count_notice(letter, address, field_value(at, end, "Action: "));
        at = memmem(at + 1, (size_t)(end - at - 1), "Final-Recipient: ", 17);
    }
}

/* What servers tell. */

static bool is_notice(struct str message)
{
    return memmem(message.data, message.len, "multipart/report", 16) != NULL;
}

void sim_world_taken(struct str sender, struct str recipient, struct str message, uint64_t transaction)
{
    (void)transaction;
    if (is_notice(message)) {
        take_notice(sender, recipient, message);
        return;
    }
    struct rcpt *r = rcpt_of(letter_of(message), recipient);
    if (r == NULL || !str_equal(sender, str_of(r->letter->sender))) {
        sim_wrong("a server got a message from <%.*s> for <%.*s> that was never sent", STR_ARGS(sender),
                  STR_ARGS(recipient));
        return;
    }
    r->copied_us = r->copies++ == 0 ? sim_now() : r->copied_us;
    story.totals.copies++;
    r->holder = TAKEN;
    sim_tell("letter %u is at <%s>, copy %u", r->letter->number, r->address, r->copies);
}

void sim_world_uncertain(struct str recipient, struct str message)
{
    struct rcpt *r = is_notice(message) ? NULL : rcpt_of(letter_of(message), recipient);
    if (r != NULL) {
        r->uncertain++;
        r->holder = IDLE;
        story.totals.uncertain++;
    }
}

/* What passes between store and relay. */

struct seen_job {
    uint64_t id;
    struct letter *letter;
    struct rcpt *rcpts[JOB_RCPTS];
    size_t count;
    uint32_t attempt;
};

static struct seen_job jobs[JOBS_SEEN];
static size_t job_count;

static struct seen_job *job_with(uint64_t id)
{
    for (size_t i = job_count; i > 0; i--) {
        if (jobs[i - 1].id == id) {
            return &jobs[i - 1];
        }
    }
    return NULL;
}

static void see_job(const struct queue_job *message)
{
    struct ident id;
    if (job_count == JOBS_SEEN || !ident_parse(message->message_id, &id)) {
        return;
    }
    jobs[job_count++] =
        (struct seen_job){.id = message->job, .letter = letter_with(&id), .attempt = message->attempt};
}

static uint64_t pause_us(unsigned deferred)
{
    size_t count = story.config->relay.schedule_count;
    size_t at = deferred == 0 ? 0 : deferred - 1;
    return story.config->relay.schedule_s[at < count ? at : count - 1] * SIM_SECOND;
}

/* Not before its pause is over, and not much later, unless something explains it. */
static void check_pause(const struct rcpt *r)
{
    uint64_t notice = r->first_ms + story.delay_ms;
    uint64_t now = sim_wall_ms();
    /* An attempt is due when the notice is, and may have had to wait for room on the disk. */
    bool clamped = (now + 70000 >= notice && r->deferred_wall_ms < notice) ||
                   now + 70000 >= r->first_ms + story.lifetime_ms;
    if (r->deferred_us == 0 || r->hurried || story.clock_stepped) {
        return;
    }
    uint64_t waited = sim_now() - r->deferred_us;
    uint64_t least = pause_us(r->deferred - r->unknown);
    uint64_t pause = pause_us(r->deferred);
    if (waited + SIM_SECOND < least && !clamped) {
        sim_wrong("letter %u for <%s> is tried after %.0f s instead of %.0f s (attempt %u)",
                  r->letter->number, r->address, (double)waited / 1e6, (double)least / 1e6, r->attempts);
    }
    if (waited > pause + pause / 10 + 70 * SIM_SECOND &&
        story.disturbed_us + 2 * SIM_MINUTE < r->deferred_us) {
        sim_wrong("letter %u for <%s> is tried after %.0f s instead of at most %.0f s", r->letter->number,
                  r->address, (double)waited / 1e6, (double)(pause + pause / 10) / 1e6);
    }
}

static void see_recipient(const struct queue_recipient *message)
{
    struct seen_job *job = job_with(message->job);
    struct rcpt *r = job == NULL ? NULL : rcpt_of(job->letter, message->address);
    struct sim_process *store = sim_of(ROLE_STORE);
    struct sim_process *relay = sim_of(ROLE_RELAY);
    struct entry entry;
    if (job == NULL || job->count == JOB_RCPTS) {
        return;
    }
    job->rcpts[job->count++] = r;
    story.totals.attempts += r != NULL;
    if (r == NULL || store == NULL || relay == NULL) {
        return;
    }
    if (r->live_job != 0) {
        sim_wrong("letter %u for <%s> is given to a relay that has it already", r->letter->number,
                  r->address);
    }
    struct store *s = sim_role(store)->data;
    sim_enter(store);
    if (entry_find(s->index, &r->letter->id, message->address, &entry) == 1) {
        r->first_ms = entry.first_ms;
    }
    sim_leave();
    r->attempts++;
    check_pause(r);
    r->live_job = message->job;
    r->live_relay = sim_role(relay)->instance;
}

static void see_deferred(struct rcpt *r)
{
    uint64_t now = sim_wall_ms();
    uint64_t notice = r->first_ms + story.delay_ms;
    r->deferred++;
    r->unacknowledged++;
    r->deferred_us = sim_now();
    r->deferred_wall_ms = now;
    r->hurried = r->may_be_held;
    if (sim_disk_full || (now + 3000 >= notice && now < notice)) {
        r->unclear = true;
    } else if (now >= notice && now < r->first_ms + story.lifetime_ms) {
        r->late = true;
    }
}

static void see_result(const struct queue_result *message)
{
    struct seen_job *job = job_with(message->job);
    struct rcpt *r = job != NULL && message->recipient < job->count ? job->rcpts[message->recipient] : NULL;
    if (r == NULL) {
        return;
    }
    r->live_job = 0;
    r->told_by = r->live_relay;
    if (message->outcome == OUTCOME_DELIVERED) {
        if (r->copies == 0) {
            sim_wrong("letter %u for <%s> is told as delivered, and no server took it", r->letter->number,
                      r->address);
        }
        r->holder = TOLD;
        r->passed = message->dsn_passed != 0;
    } else if (message->outcome == OUTCOME_DEFERRED || message->outcome == OUTCOME_UNCERTAIN) {
        r->holder = IDLE;
        see_deferred(r);
    } else if (message->outcome == OUTCOME_FAILED) {
        r->holder = IDLE;
        r->refused_for_good = true;
    }
}

static void see_acknowledged(uint64_t id)
{
    const struct seen_job *job = job_with(id);
    for (size_t i = 0; job != NULL && i < job->count; i++) {
        if (job->rcpts[i] != NULL) {
            job->rcpts[i]->holder = IDLE;
            job->rcpts[i]->unacknowledged = 0;
        }
    }
}

static void see_message(enum role_kind from, enum role_kind to, const struct ipc_type *type,
                        const void *message)
{
    if (from == ROLE_STORE && to == ROLE_RELAY) {
        if (type == &queue_job_type) {
            see_job(message);
        } else if (type == &queue_recipient_type) {
            see_recipient(message);
        } else {
            see_acknowledged(((const struct queue_acknowledged *)message)->job);
        }
    } else if (from == ROLE_RELAY && to == ROLE_STORE && type == &queue_result_type) {
        see_result(message);
    }
}

static void see_end(struct sim_process *process, enum role_kind kind, uint32_t instance)
{
    struct sim_process *relay = sim_of(ROLE_RELAY);
    (void)process;
    FOR_EACH_RCPT(r)
    {
        bool told_by_the_living = relay != NULL && sim_role(relay)->instance == r->told_by;
        if (kind == ROLE_STORE) {
            r->live_job = 0;
            r->deferred_us = 0;
            r->unknown += r->unacknowledged;
            r->unacknowledged = 0;
            r->unclear = true;
            if (r->holder == TOLD && !told_by_the_living) {
                r->uncertain++;
                r->holder = IDLE;
            } else if (r->holder == TOLD) {
                r->holder = TAKEN;
            }
        } else if (kind == ROLE_RELAY && r->live_relay == instance) {
            r->live_job = 0;
            if (r->holder == TAKEN) {
                r->uncertain++;
                r->holder = IDLE;
            }
        }
    }
}

void sim_watch_begin(void)
{
    seen_count = 0;
    job_count = 0;
    sim_watch_message = see_message;
    sim_watch_end = see_end;
}

/* What must hold at the end. */

static bool expired(const struct rcpt *r)
{
    return story.clock_stepped ||
           (r->deferred > 0 && r->deferred_wall_ms + 2000 >= r->first_ms + story.lifetime_ms);
}

static void check_copies(const struct rcpt *r)
{
    unsigned number = r->letter->number;
    if (r->copies > 1 + r->uncertain) {
        sim_wrong("letter %u for <%s> was delivered %u times, and only %u are explained", number, r->address,
                  r->copies, 1 + r->uncertain);
    }
    story.totals.doubles += r->copies > 1;
    if (r->failed > 1) {
        sim_wrong("letter %u for <%s> was bounced %u times", number, r->address, r->failed);
    }
    if (r->failed > 0 && r->copies > 0 && r->uncertain == 0) {
        sim_wrong("letter %u for <%s> was delivered and bounced", number, r->address);
    }
    if (r->failed > 0 && !r->refused_for_good && !expired(r)) {
        sim_wrong("letter %u for <%s> was bounced before its time was over", number, r->address);
    }
    if (r->failed > 0 && !dsn_wanted(DSN_FAILED, r->notify, str_of(r->letter->sender))) {
        sim_wrong("letter %u for <%s> was bounced, and nobody wanted to know", number, r->address);
    }
}

static void check_fate(const struct rcpt *r)
{
    unsigned number = r->letter->number;
    bool wanted = dsn_wanted(DSN_FAILED, r->notify, str_of(r->letter->sender));
    if (r->live_job != 0) {
        sim_wrong("letter %u for <%s> is still with a relay", number, r->address);
    }
    if (r->copies == 0 && r->failed == 0 && !r->dropped &&
        (wanted || (!r->refused_for_good && !expired(r)))) {
        sim_wrong("letter %u for <%s> was neither delivered nor bounced", number, r->address);
    }
}

static void check_other_notices(const struct rcpt *r)
{
    unsigned number = r->letter->number;
    struct str sender = str_of(r->letter->sender);
    bool delay = dsn_wanted(DSN_DELAYED, r->notify, sender);
    bool success = dsn_wanted(DSN_RELAYED, r->notify, sender);
    bool sure = !r->unclear && !story.clock_stepped && !r->dropped;
    if (r->delayed > (delay ? 1U : 0U)) {
        sim_wrong("letter %u for <%s> has %u delay notices", number, r->address, r->delayed);
    }
    if (sure && delay && r->delayed != (r->late ? 1U : 0U)) {
        sim_wrong("letter %u for <%s> has %u delay notices, and it was %slate", number, r->address,
                  r->delayed, r->late ? "" : "not ");
    }
    if (r->relayed > (success ? r->copies : 0U)) {
        sim_wrong("letter %u for <%s> has %u success notices", number, r->address, r->relayed);
    }
    if (success && r->copies == 1 && r->uncertain == 0 && !r->dropped &&
        r->relayed != (r->passed ? 0U : 1U)) {
        sim_wrong("letter %u for <%s> was delivered with %s DSN, and has %u success notices", number,
                  r->address, r->passed ? "" : "no", r->relayed);
    }
}

static int64_t number_of(struct index *index, const char *sql)
{
    sqlite3_stmt *q = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(index->db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW) {
        value = sqlite3_column_int64(q, 0);
    }
    sqlite3_finalize(q);
    return value;
}

/* Notices to a sender of ours are in a mailbox. */
static void read_mailbox(struct store *s)
{
    struct mailbox mailbox;
    int64_t count = number_of(s->index, "SELECT COUNT(*) FROM message");
    if (mailbox_find(s->index, 1, MAILBOX_INBOX, &mailbox) != 1 || (int64_t)mailbox.uid_next != count + 1) {
        sim_wrong("the mailbox has %lld messages and counts %lld", (long long)count,
                  (long long)mailbox.uid_next - 1);
        return;
    }
    for (uint32_t uid = 1; uid <= (uint32_t)count; uid++) {
        struct message_place place;
        struct buf message = buf_make(8 << 20);
        if (message_find(s->index, &mailbox, uid, &place) != 1 ||
            !message_read(&s->segments, &place, 0, (size_t)place.size + 100, &message) ||
            !buf_append_char(&message, '\0')) {
            sim_wrong("message %u of the mailbox cannot be read", uid);
        } else {
            take_notice(STR_EMPTY, STR("carl@local.example"), str_make(message.data, message.len - 1));
        }
        buf_free(&message);
    }
}

static void check_store(void)
{
    struct sim_process *store = sim_of(ROLE_STORE);
    if (store == NULL) {
        sim_wrong("there is no store at the end");
        return;
    }
    struct store *s = sim_role(store)->data;
    sim_enter(store);
    int64_t queued = number_of(s->index, "SELECT COUNT(*) FROM queue");
    int64_t records = number_of(s->index, "SELECT COUNT(*) FROM record");
    int64_t used = number_of(s->index, "SELECT COUNT(DISTINCT record) FROM message");
    if (queued != 0) {
        sim_wrong("%lld recipients are still queued", (long long)queued);
    } else if (records != used) {
        sim_wrong("%lld records are kept, and %lld are needed", (long long)records, (long long)used);
    }
    read_mailbox(s);
    sim_leave();
}

void sim_check_all(void)
{
    check_store();
    FOR_EACH_RCPT(r)
    {
        if (r->letter->accepted) {
            check_copies(r);
            check_fate(r);
            check_other_notices(r);
        } else if (r->copies > 0) {
            sim_wrong("letter %u was refused and delivered", r->letter->number);
        }
    }
}

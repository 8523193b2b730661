/* The retry schedule; see schedule.h. */
#include "queue/schedule.h"

enum { MS = 1000, JITTER_STEPS = 1000 };

/* Used when a configuration without a schedule gets here: half an hour, which RFC 5321, section 4.5.4.1, asks for. */
enum { FALLBACK_PAUSE_S = 1800 };

static uint64_t pause_ms(const struct config_relay *settings, uint32_t attempts, uint64_t random)
{
    uint64_t pause_s = FALLBACK_PAUSE_S;
    if (settings->schedule_count > 0) {
        size_t at = attempts == 0 ? 0 : (size_t)attempts - 1;
        pause_s = settings->schedule_s[at < settings->schedule_count ? at : settings->schedule_count - 1];
    }
    uint64_t pause = pause_s * MS;
    return pause + pause * (random % (JITTER_STEPS + 1)) / (10 * JITTER_STEPS);
}

static uint64_t lifetime_ms(const struct config_relay *settings, bool null_sender)
{
    return (uint64_t)(null_sender ? settings->bounce_lifetime_s : settings->lifetime_s) * MS;
}

struct schedule_next schedule_after(const struct config_relay *settings, const struct schedule_entry *entry,
                                    uint64_t random)
{
    struct schedule_next next = {.give_up_ms = entry->first_ms + lifetime_ms(settings, entry->null_sender)};
    if (entry->now_ms >= next.give_up_ms) {
        next.expired = true;
        return next;
    }
    uint64_t notice_ms = entry->first_ms + (uint64_t)settings->delay_notice_s * MS;
    bool may_notify = settings->delay_notice_s > 0 && !entry->null_sender && !entry->notified;
    next.delay_notice = may_notify && entry->now_ms >= notice_ms;
    next.due_ms = entry->now_ms + pause_ms(settings, entry->attempts, random);
    if (may_notify && entry->now_ms < notice_ms && next.due_ms > notice_ms) {
        next.due_ms = notice_ms;
    }
    if (next.due_ms > next.give_up_ms) {
        next.due_ms = next.give_up_ms;
    }
    return next;
}

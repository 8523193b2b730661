/* Pages of flags; see page.h. */
#include "store/page.h"

enum { NUMBER_OCTETS = 10 };

static size_t put_number(unsigned char *out, uint64_t value)
{
    size_t len = 0;
    while (value > 0x7f) {
        out[len++] = (unsigned char)(value | 0x80);
        value >>= 7;
    }
    out[len++] = (unsigned char)value;
    return len;
}

static bool take_number(struct str *rest, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < rest->len && i < NUMBER_OCTETS; i++) {
        unsigned char octet = (unsigned char)rest->data[i];
        if (i == NUMBER_OCTETS - 1 && octet > 1) {
            return false; /* more than 64 bits */
        }
        *value |= (uint64_t)(octet & 0x7f) << 7 * i;
        if ((octet & 0x80) == 0) {
            *rest = str_from(*rest, i + 1);
            return true;
        }
    }
    return false;
}

static uint64_t fold_sign(uint64_t difference)
{
    return difference << 1 ^ (0 - (difference >> 63));
}

static uint64_t unfold_sign(uint64_t folded)
{
    return folded >> 1 ^ (0 - (folded & 1));
}

static uint64_t last_modseq(const struct flags_run *run)
{
    return run->count == 0 ? 0 : flags_run_modseq(run, run->count - 1);
}

bool flags_run_join(struct flags_run *run, const struct flags_run *next)
{
    bool rising = run->count > 1 ? run->rising : next->count > 1 ? next->rising : next->modseq != run->modseq;
    if (next->uid != (uint64_t)run->uid + run->count || next->flags != run->flags ||
        (next->count > 1 && next->rising != rising) ||
        next->modseq != run->modseq + (rising ? run->count : 0)) {
        return false;
    }
    run->rising = rising;
    run->count += next->count;
    return true;
}

bool flags_run_cut(struct flags_run *run, uint32_t from, uint64_t since)
{
    uint64_t skip = from > run->uid ? from - run->uid : 0;
    if (run->modseq <= since) {
        uint64_t beyond = since - run->modseq;
        uint64_t below = run->rising && beyond < run->count ? beyond + 1 : run->count;
        skip = below > skip ? below : skip;
    }
    if (skip >= run->count) {
        return false;
    }
    run->modseq = flags_run_modseq(run, (uint32_t)skip);
    run->uid += (uint32_t)skip;
    run->count -= (uint32_t)skip;
    return true;
}

bool page_next_run(struct str *page, struct flags_run *run)
{
    struct str rest = *page;
    uint64_t count;
    uint64_t left_out;
    uint64_t flags;
    uint64_t modseq;
    if (!take_number(&rest, &count) || !take_number(&rest, &left_out) || !take_number(&rest, &flags) ||
        !take_number(&rest, &modseq)) {
        return false;
    }
    bool rising = (count & 1) != 0;
    uint64_t uid = (uint64_t)run->uid + run->count + left_out;
    count >>= 1;
    if (count < 1 || count > PAGE_MESSAGES || left_out > UINT32_MAX || uid < 1 ||
        uid + count - 1 > UINT32_MAX) {
        return false;
    }
    *run = (struct flags_run){.uid = (uint32_t)uid,
                              .count = (uint32_t)count,
                              .flags = flags,
                              .modseq = last_modseq(run) + unfold_sign(modseq),
                              .rising = rising};
    *page = rest;
    return true;
}

size_t page_put_run(unsigned char *out, const struct flags_run *before, const struct flags_run *run)
{
    size_t len = put_number(out, (uint64_t)run->count << 1 | run->rising);
    len += put_number(out + len, run->uid - ((uint64_t)before->uid + before->count));
    len += put_number(out + len, run->flags);
    return len + put_number(out + len, fold_sign(run->modseq - last_modseq(before)));
}

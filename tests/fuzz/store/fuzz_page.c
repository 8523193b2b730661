/*
 * A page of flags as a damaged disk may leave it. Oracles: a run is within its bounds; what was read can be written, and comes
 * back the same; joining two runs gives the same messages, and cutting one leaves those that are wanted.
 */
#include "store/page.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void write_and_read(const struct flags_run *before, const struct flags_run *run)
{
    unsigned char octets[PAGE_RUN_OCTETS];
    struct flags_run again = *before;
    size_t len = page_put_run(octets, before, run);
    must(len <= sizeof(octets));
    struct str rest = str_make(octets, len);
    must(page_next_run(&rest, &again) && rest.len == 0 && again.uid == run->uid &&
         again.count == run->count && again.flags == run->flags && again.modseq == run->modseq &&
         again.rising == run->rising);
}

static void join(const struct flags_run *before, const struct flags_run *run)
{
    struct flags_run joined = *before;
    if (before->count == 0 || !flags_run_join(&joined, run)) {
        return;
    }
    must(joined.uid == before->uid && joined.count == before->count + run->count &&
         joined.flags == run->flags);
    for (uint32_t i = 0; i < joined.count; i++) {
        must(flags_run_modseq(&joined, i) ==
             (i < before->count ? flags_run_modseq(before, i) : flags_run_modseq(run, i - before->count)));
    }
}

static void cut(const struct flags_run *run, uint32_t from, uint64_t since)
{
    struct flags_run left = *run;
    uint32_t wanted = 0;
    if (run->modseq > UINT64_MAX - run->count) {
        return; /* modification sequences have 63 bits (RFC 7162, section 1); no order is promised where they turn over */
    }
    for (uint32_t i = 0; i < run->count; i++) {
        wanted += run->uid + i >= from && flags_run_modseq(run, i) > since;
    }
    must(flags_run_cut(&left, from, since) == (wanted > 0) && (wanted == 0 || left.count == wanted));
    must(wanted == 0 || (left.uid >= from && left.modseq > since));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str page = str_make(data, size < PAGE_OCTETS ? size : PAGE_OCTETS);
    struct flags_run run = {.count = 0};
    for (;;) {
        struct flags_run before = run;
        if (!page_next_run(&page, &run)) {
            return 0;
        }
        must(run.uid >= 1 && run.count >= 1 && run.count <= PAGE_MESSAGES &&
             run.uid <= UINT32_MAX - run.count + 1);
        write_and_read(&before, &run);
        join(&before, &run);
        cut(&run, before.uid + size % 300, before.modseq + size % 7);
    }
}

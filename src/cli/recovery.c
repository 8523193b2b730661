/*
 * `verify` and `reindex`: the log against the index, and the index anew from the log. They open the store's directory
 * themselves, as the user that it belongs to: verify reads only and may run beside the server, reindex takes the server's locks.
 */
#include "base/io.h"
#include "cli/control.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/store_dir.h"
#include "store/index.h"
#include "store/reindex.h"
#include "store/segment.h"
#include "store/verify.h"

#include <errno.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

static void print_line(void *context, struct str text)
{
    const struct cli_input *input = context;
    if (input->json) {
        json_t *object = json_pack("{s:s%}", "text", text.data, text.len);
        if (object != NULL) {
            cli_print_json(object);
        }
        json_decref(object);
        return;
    }
    cli_print_text(text);
    putchar('\n');
}

static int report_verified(const struct cli_input *input, const struct verify_counts *counts)
{
    if (input->json) {
        json_t *object =
            json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I}", "done", 1, "problems", (json_int_t)counts->problems,
                      "segments", (json_int_t)counts->segments, "records", (json_int_t)counts->records,
                      "octets", (json_int_t)counts->octets, "messages", (json_int_t)counts->messages,
                      "queued", (json_int_t)counts->entries);
        cli_print_json(object);
        json_decref(object);
    } else {
        printf("%llu segments, %llu records, %llu messages in mailboxes, %llu in the queue: ",
               (unsigned long long)counts->segments, (unsigned long long)counts->records,
               (unsigned long long)counts->messages, (unsigned long long)counts->entries);
        if (counts->problems == 0) {
            puts("all is well.");
        } else {
            printf("%llu problems.\n", (unsigned long long)counts->problems);
        }
    }
    return counts->problems == 0 ? EX_OK : EX_DATAERR;
}

int cli_verify(const struct cli_input *input)
{
    struct segments segments;
    struct verify_counts counts = {.problems = 0};
    struct buf errors = buf_make(4096);
    int code = cli_enter_store(input, STORE_READ);
    if (code != EX_OK) {
        return code;
    }
    struct index *index = index_open("index.db", false, &errors);
    if (index == NULL) {
        buf_append_char(&errors, '\0');
        code = cli_fail(input, EX_IOERR,
                        "stop the server and run `veredus reindex`, which makes it anew from the log",
                        "the index cannot be opened: %s", buf_ok(&errors) ? errors.data : "no memory");
        buf_free(&errors);
        return code;
    }
    buf_free(&errors);
    if (segments_init(&segments, &io_system, false) != 0) {
        index_close(index);
        return cli_fail(input, EX_IOERR, NULL, "the log cannot be opened: %s", strerror(errno));
    }
    if (verify_store(index, &segments, print_line, (void *)(uintptr_t)input, &counts) != 0) {
        code =
            cli_fail(input, EX_IOERR, "try again; if it stays so, stop the server and run `veredus reindex`",
                     "the check could not be made: %s", index->error);
    } else {
        code = report_verified(input, &counts);
    }
    segments_close(&segments);
    index_close(index);
    return code;
}

int cli_reindex(const struct cli_input *input)
{
    struct reindex_counts counts = {.segments = 0};
    int code = cli_enter_store(input, STORE_ALONE);
    if (code != EX_OK) {
        return code;
    }
    if (reindex_directory(&io_system, print_line, (void *)(uintptr_t)input, &counts) != 0) {
        return cli_fail(input, EX_IOERR, "see what stands above; the old index has not been touched",
                        "the index could not be made anew");
    }
    if (input->json) {
        json_t *object =
            json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I}", "done", 1, "segments", (json_int_t)counts.segments,
                      "accounts", (json_int_t)counts.accounts, "messages", (json_int_t)counts.messages,
                      "queued", (json_int_t)counts.entries, "transactions", (json_int_t)counts.transactions,
                      "damaged", (json_int_t)counts.damaged);
        cli_print_json(object);
        json_decref(object);
    } else {
        printf("The index has been made anew from %llu segments: %llu accounts, %llu messages, %llu rows of "
               "the queue; "
               "%llu records could not be read.\n",
               (unsigned long long)counts.segments, (unsigned long long)counts.accounts,
               (unsigned long long)counts.messages, (unsigned long long)counts.entries,
               (unsigned long long)counts.damaged);
    }
    return counts.damaged == 0 ? EX_OK : EX_DATAERR;
}

/*
 * The log as a damaged disk or a hostile writer may leave it (goal G12): segments of records whose checksums are right and whose
 * content is the input, and of octets that are no records. Making the index from it, applying it and verifying it come to their
 * end, and no memory is lost.
 *
 * Input: records, each its kind, flags and lengths, then its parts. It is written to a segment of the store's own or of smtpd.
 */
#include "base/log.h"
#include "base/mem.h"
#include "ipc/peer.h"
#include "store/apply.h"
#include "store/events.h"
#include "store/reindex.h"
#include "store/verify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEGMENTS = 3, SEGMENT_MAX = 1 << 17, ROWS = 200 };

static const int origins[SEGMENTS] = {ROLE_STORE, ROLE_SMTPD_MX, ROLE_IMAPD};

static char area[SEGMENTS][SEGMENT_MAX];
static struct buf segments_text[SEGMENTS];
static struct config *config;
static unsigned char key[GRANT_KEY_SIZE];

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static uint8_t octet(struct str *input)
{
    uint8_t value = input->len == 0 ? 0 : (uint8_t)input->data[0];
    *input = str_from(*input, 1);
    return value;
}

static struct str take(struct str *input, size_t len)
{
    struct str taken = str_sub(*input, 0, len);
    *input = str_from(*input, len);
    return taken;
}

static void add_record(struct str *input)
{
    unsigned char bytes[RECORD_HEADER];
    uint8_t kind = octet(input);
    uint8_t shape = octet(input);
    struct buf *out = &segments_text[shape % SEGMENTS];
    size_t begin = out->len;
    struct record_header header = {
        .kind = kind % 6, .id = ident_make(1700000000000, kind >> 4), .wall_ms = 1700000000000};
    char section[300];
    struct buf summary = {.data = section, .cap = sizeof(section), .limit = sizeof(section)};
    if ((shape & 8) != 0) {
        record_encode_summary(take(input, octet(input)), &summary);
    }
    struct str envelope = take(input, header.kind == RECORD_MESSAGE || (shape & 4) != 0 ? octet(input) : 0);
    struct str body = take(input, octet(input));
    if (!record_encode_header(&header, buf_str(&summary), envelope, STR_EMPTY, body, bytes)) {
        return;
    }
    buf_append(out, bytes, sizeof(bytes));
    buf_append_str(out, buf_str(&summary));
    buf_append_str(out, envelope);
    buf_append_str(out, body);
    while ((out->len - begin) < header.total && buf_append_char(out, '\0')) {
    }
    if ((shape & 0x70) == 0x70 && out->len > begin) {
        out->data[begin + octet(input) % (out->len - begin)] ^= 4;
    }
}

static void set_up(void)
{
    char dir[64];
    struct buf errors = buf_make(4096);
    log_setup("fuzz", 0, LOG_LEVEL_ERROR, false);
    snprintf(dir, sizeof(dir), "%s/veredus-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    require(mkdtemp(dir) != NULL && chdir(dir) == 0 && mkdir("segments", 0700) == 0);
    require(config_parse(STR("hostname = \"mail.example.org\"\ndomain example.org { }\n"), "fuzz", &config,
                         &errors));
    buf_free(&errors);
}

static void write_segments(void)
{
    for (int i = 0; i < SEGMENTS; i++) {
        char name[64];
        snprintf(name, sizeof(name), "segments/%016x.log", (unsigned)(i + 1) << 4 | (unsigned)origins[i]);
        int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        require(fd >= 0 &&
                write(fd, segments_text[i].data, segments_text[i].len) == (ssize_t)segments_text[i].len);
        close(fd);
    }
}

static void say_nothing(void *context, struct str text)
{
    (void)context;
    (void)text;
}

static void apply_all(struct index *index, struct segments *segments)
{
    static struct segment_info infos[ROWS];
    struct apply_counts counts = {0};
    struct applier *applier = applier_new(index, segments, key);
    require(applier != NULL);
    applier_set_config(applier, config);
    int count = segment_list(index, infos, ROWS);
    bool fine = index_begin(index) == 0;
    for (int i = 0; i < count && fine; i++) {
        bool more;
        bool torn;
        fine = apply_segment(applier, infos[i].id, INT64_MAX, UINT64_MAX, 1700000000000, &more, &torn,
                             &counts) == 0;
    }
    if (!fine || apply_finish(applier) != 0 || index_commit(index) != 0) {
        index_rollback(index);
        apply_abort(applier);
    }
    applier_free(applier);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str input = str_make((const char *)data, size);
    struct reindex_counts counts;
    struct verify_counts verified;
    struct segments segments;
    if (config == NULL) {
        set_up();
    }
    for (int i = 0; i < SEGMENTS; i++) {
        segments_text[i] = (struct buf){.data = area[i], .cap = SEGMENT_MAX, .limit = SEGMENT_MAX};
    }
    while (input.len > 0) {
        add_record(&input);
    }
    write_segments();
    int64_t live = mem_live();
    struct buf errors = buf_make(4096);
    struct index *index = index_open("", true, &errors);
    require(index != NULL && segments_init(&segments, &io_system, true) == 0);
    if (reindex_replay(index, &segments, UINT64_MAX, say_nothing, NULL, &counts) == 0) {
        apply_all(index, &segments);
        verify_store(index, &segments, say_nothing, NULL, &verified);
    }
    (void)reindex_is_older(index, &segments);
    segments_close(&segments);
    index_close(index);
    buf_free(&errors);
    require(mem_live() == live);
    return 0;
}

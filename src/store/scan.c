/* Walking through a segment; see scan.h. */
#include "store/scan.h"

#include "base/crc32c.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEARCH_PIECE = 1 << 16, STEP = 8, BUDGET_SIZES = 16, NAME_DIGITS = 16 };

bool scan_begin(struct scan *scan, struct segments *segments, int64_t segment, int64_t end,
                struct buf *payload)
{
    struct stat info;
    int fd = segment_fd(segments, segment);
    if (fd < 0 || fstat(fd, &info) != 0) {
        return false;
    }
    *scan = (struct scan){.segments = segments,
                          .segment = segment,
                          .end = end < info.st_size ? end : info.st_size,
                          .budget = info.st_size * BUDGET_SIZES,
                          .certain = true,
                          .payload = payload};
    return true;
}

/* On a bad disk one place cannot be read; what else may fail has nothing to do with the place. */
static bool is_bad_place(void)
{
    return errno == EIO;
}

/* Of what stands behind the payload of a good record. */
static enum scan_state check_padding(const struct scan *scan, const struct scan_item *item)
{
    unsigned char padding[STEP] = {0};
    size_t len = item->header.total - (size_t)record_payload_at(&item->header) - scan->payload->len;
    if (len == 0) {
        return SCAN_RECORD;
    }
    errno = EIO; /* fewer octets than the file had */
    if (!segment_read_at(scan->segments, scan->segment, item->offset + item->octets - (int64_t)len, padding,
                         len)) {
        return is_bad_place() ? SCAN_DAMAGED : SCAN_ERROR;
    }
    for (size_t i = 0; i < len; i++) {
        if (padding[i] != 0) {
            return SCAN_DAMAGED;
        }
    }
    return SCAN_RECORD;
}

/* A damaged summary makes no damaged record: it is only noted. */
static enum scan_state check_summary(const struct scan *scan, struct scan_item *item)
{
    char piece[4096];
    unsigned char sum[4] = {0};
    int64_t at = item->offset + RECORD_HEADER;
    int64_t end = at + item->header.summary_len;
    uint32_t crc = 0;
    if (item->header.summary_len == 0) {
        return SCAN_RECORD;
    }
    errno = EIO; /* fewer octets than the file had */
    bool read = item->header.summary_len > sizeof(sum) &&
                segment_read_at(scan->segments, scan->segment, at, sum, sizeof(sum));
    for (at += (int64_t)sizeof(sum); read && at < end;) {
        size_t len = end - at < (int64_t)sizeof(piece) ? (size_t)(end - at) : sizeof(piece);
        read = segment_read_at(scan->segments, scan->segment, at, piece, len);
        crc = crc32c(crc, piece, read ? len : 0);
        at += (int64_t)len;
    }
    item->summary_damaged =
        !read || crc != (sum[0] | (uint32_t)sum[1] << 8 | (uint32_t)sum[2] << 16 | (uint32_t)sum[3] << 24);
    return read || is_bad_place() ? SCAN_RECORD : SCAN_ERROR;
}

static bool header_at(const struct scan *scan, int64_t at, struct record_header *header)
{
    unsigned char bytes[RECORD_HEADER];
    return at + RECORD_HEADER <= scan->end &&
           segment_read_at(scan->segments, scan->segment, at, bytes, sizeof(bytes)) &&
           record_decode_header(bytes, header) == RECORD_GOOD && at + header->total <= scan->end;
}

/* Whether a whole record begins here, by all that can be seen. */
static bool begins_record(struct scan *scan, int64_t at)
{
    struct record_header header;
    struct record_header next;
    if (!header_at(scan, at, &header)) {
        return false;
    }
    int64_t end = at + header.total;
    if ((end < scan->end && !header_at(scan, end, &next)) || scan->budget < header.total) {
        return false;
    }
    scan->budget -= header.total;
    return segment_read_record(scan->segments, scan->segment, at, &header, scan->payload) == SEGMENT_RECORD;
}

/* The place of the next record behind `at`; the end if there is none. */
static int64_t search(struct scan *scan, int64_t at)
{
    static const char magic[4] = {'V', 'R', 'D', '1'};
    char *piece = mem_alloc(SEARCH_PIECE);
    int64_t found = scan->end;
    bool failed = false;
    for (int64_t from = at; piece != NULL && from < scan->end && found == scan->end; from += SEARCH_PIECE) {
        int64_t left = scan->end - from;
        size_t len = left < SEARCH_PIECE ? (size_t)left : SEARCH_PIECE;
        errno = EIO;
        if (!segment_read_at(scan->segments, scan->segment, from, piece, len)) {
            failed = !is_bad_place(); /* what lies behind a bad place is given up */
            break;
        }
        for (size_t i = 0; i + sizeof(magic) <= len; i += STEP) {
            if (memcmp(piece + i, magic, sizeof(magic)) == 0 && begins_record(scan, from + (int64_t)i)) {
                found = from + (int64_t)i;
                break;
            }
        }
    }
    if (piece == NULL) {
        errno = ENOMEM;
        failed = true;
    }
    mem_free(piece);
    return failed ? -1 : found;
}

static enum scan_state skip_lost(struct scan *scan, struct scan_item *item)
{
    int64_t next = search(scan, scan->at + STEP);
    if (next < 0) {
        return SCAN_ERROR;
    }
    item->octets = next - scan->at;
    item->certain = scan->certain;
    scan->certain = false;
    scan->at = next;
    return next < scan->end ? SCAN_LOST : SCAN_TORN;
}

enum scan_state scan_next(struct scan *scan, struct scan_item *item)
{
    *item = (struct scan_item){.offset = scan->at};
    if (scan->at >= scan->end) {
        return SCAN_END;
    }
    enum segment_read read =
        segment_read_record(scan->segments, scan->segment, scan->at, &item->header, scan->payload);
    switch (read) {
    case SEGMENT_ERROR: return SCAN_ERROR;
    case SEGMENT_END: return SCAN_END;
    case SEGMENT_TORN: return skip_lost(scan, item);
    case SEGMENT_RECORD:
    case SEGMENT_DAMAGED: break;
    }
    item->octets = item->header.total;
    item->certain = scan->certain;
    scan->at += item->octets;
    enum scan_state state = read == SEGMENT_RECORD ? check_padding(scan, item) : SCAN_DAMAGED;
    return state == SCAN_RECORD ? check_summary(scan, item) : state;
}

/* The number in "0000000000000012.log"; 0 if the name is another. */
static int64_t number_in(const char *name)
{
    if (strlen(name) != NAME_DIGITS + 4 || strcmp(name + NAME_DIGITS, ".log") != 0) {
        return 0;
    }
    int64_t number = 0;
    for (size_t i = 0; i < NAME_DIGITS; i++) {
        const char *digits = "0123456789abcdef";
        const char *at = strchr(digits, name[i]);
        if (at == NULL || number > INT64_MAX >> 4) {
            return 0;
        }
        number = number << 4 | (int64_t)(at - digits);
    }
    return number;
}

static int compare_numbers(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left;
    int64_t b = *(const int64_t *)right;
    return a < b ? -1 : a > b;
}

static int list_files(DIR *list, struct buf *numbers)
{
    errno = 0;
    for (struct dirent *entry = readdir(list); entry != NULL; entry = readdir(list)) {
        int64_t number = number_in(entry->d_name);
        if (number != 0 && !buf_append(numbers, &number, sizeof(number))) {
            return -1;
        }
        errno = 0;
    }
    return errno == 0 ? 0 : -1;
}

int scan_files(struct segments *segments, int (*each)(void *context, int64_t segment), void *context)
{
    struct buf numbers = buf_make(64 << 20);
    int fd = openat(segments->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (list == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    int result = list_files(list, &numbers);
    closedir(list);
    size_t count = numbers.len / sizeof(int64_t);
    if (count > 0) {
        qsort(numbers.data, count, sizeof(int64_t), compare_numbers);
    }
    for (size_t i = 0; i < count && result == 0; i++) {
        int64_t number;
        memcpy(&number, numbers.data + i * sizeof(number), sizeof(number));
        result = each(context, number);
    }
    buf_free(&numbers);
    return result;
}

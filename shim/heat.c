#include "heat.h"

#include "libc.h"
#include "status.h"
#include "vfork_child.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Seconds after which a download counts half. Tests and benchmarks set another. */
#ifndef HEAT_HALF_LIFE
#ifdef XFERMMAP_DEBUG
#define HEAT_HALF_LIFE 8
#else
#define HEAT_HALF_LIFE 3600
#endif
#endif

/* Counts are aged in steps of an eighth of the half-life, numbered modulo 65536. */
enum { STEPS = 8, WAYS = 8, BUCKETS = HEAT_FILES / WAYS };

/* If the clock is set back by at most this many steps, counts stay as they are. */
enum { MOST_STEPS_BACK = 4096 };

enum { DESCRIPTORS = 4096 };

/* The bits of a count, which is one word. */
#define HEAT_BITS  26
#define ERROR_BITS 21
#define MOST(bits) ((UINT64_C(1) << (bits)) - 1)

struct count {
    uint32_t heat;  /* 1/HEAT_ONE downloads; it includes: */
    uint32_t error; /* the part taken over from the entry's former file */
    bool asked;     /* a session has asked for the handle */
    uint16_t step;  /* to which both are aged */
};

/* Written word by word without a lock, as a session may be killed at any time. The checksum shows a
 * half written one. */
struct record {
    uint64_t sum, device, inode;
    struct handle handle;
    uint32_t pages;
};
enum { WORDS = sizeof(struct record) / sizeof(uint64_t) };

static struct table {
    struct bucket { /* two cache lines */
        _Atomic uint64_t keys[WAYS], counts[WAYS];
    } buckets[BUCKETS];
    _Atomic uint64_t records[HEAT_FILES][WORDS];
    _Atomic int failure;
} * table; /* NULL: this process does not count */

_Static_assert(sizeof(struct table) <= STATUS_HEAT_BYTES, "the table's size");
_Static_assert(sizeof(struct record) % sizeof(uint64_t) == 0, "words");
_Static_assert(sizeof(struct file_handle) == offsetof(struct handle, data) &&
                   offsetof(struct file_handle, handle_type) == offsetof(struct handle, type),
               "a handle starts with a struct file_handle");

/* Open files that are counted, by descriptor. */
static struct counted {
    atomic_bool counts;
    dev_t device;
    ino64_t inode;
    off64_t size, from; /* where the kernel's offset was last set, bytes */
    _Atomic uint64_t sent;
} counted[DESCRIPTORS];

/* ---- counts ---- */

static uint16_t step_now(void)
{
    return (uint16_t)(libc_time(CLOCK_REALTIME_COARSE) / NS_PER_SECOND * STEPS / HEAT_HALF_LIFE);
}

/* 65536 / 2^(step / STEPS) */
static uint32_t age(uint32_t heat, unsigned steps)
{
    static const uint32_t factors[STEPS] = {65536, 60097, 55109, 50535, 46341, 42495, 38968, 35734};

    if (steps / STEPS >= HEAT_BITS)
        return 0;
    return (uint32_t)((uint64_t)heat * factors[steps % STEPS] >> 16 >> steps / STEPS);
}

/* Unpack a count and age it to `step`. */
static struct count unpack(uint64_t word, uint16_t step)
{
    struct count count = {.heat = (uint32_t)(word & MOST(HEAT_BITS)),
                          .error = (uint32_t)(word >> HEAT_BITS & MOST(ERROR_BITS)),
                          .asked = (word >> (HEAT_BITS + ERROR_BITS) & 1) != 0,
                          .step = step};
    unsigned steps = (uint16_t)(step - (word >> 48));

    steps = steps > UINT16_MAX - MOST_STEPS_BACK ? 0 : steps;
    count.heat = age(count.heat, steps);
    count.error = age(count.error, steps);
    return count;
}

static uint64_t at_most(uint64_t number, unsigned bits)
{
    return number < MOST(bits) ? number : MOST(bits);
}

static uint64_t pack(struct count count)
{
    return at_most(count.heat, HEAT_BITS) | at_most(count.error, ERROR_BITS) << HEAT_BITS |
           (uint64_t)count.asked << (HEAT_BITS + ERROR_BITS) | (uint64_t)count.step << 48;
}

static uint32_t certain(struct count count)
{
    return count.heat > count.error ? count.heat - count.error : 0;
}

/* ---- finding ---- */

static uint64_t mix(uint64_t number)
{
    number = (number ^ number >> 32) * 0x9e3779b97f4a7c15;
    number = (number ^ number >> 29) * 0xbf58476d1ce4e5b9;
    return number ^ number >> 32;
}

/* @return not 0, which marks an unused entry */
static uint64_t key_of(uint64_t device, uint64_t inode)
{
    return mix(mix(device) + inode) | 1;
}

static struct bucket *bucket_of(uint64_t key)
{
    return &table->buckets[(key >> 32) % BUCKETS];
}

/* @return the entry's way; WAYS: there is none */
static unsigned find(const struct bucket *bucket, uint64_t key)
{
    unsigned way = 0;

    while (way < WAYS && atomic_load_explicit(&bucket->keys[way], memory_order_relaxed) != key)
        way++;
    return way;
}

static unsigned coldest(const struct bucket *bucket, uint16_t step)
{
    uint32_t least = UINT32_MAX;
    unsigned found = 0;

    for (unsigned way = 0; way < WAYS; way++) {
        uint32_t heat = atomic_load_explicit(&bucket->keys[way], memory_order_relaxed) != 0
                            ? unpack(atomic_load(&bucket->counts[way]), step).heat
                            : 0;
        if (heat < least) {
            least = heat;
            found = way;
        }
    }
    return found;
}

/* ---- records ---- */

static uint64_t sum_of(const struct record *record)
{
    uint64_t words[WORDS], sum = 0;

    memcpy(words, record, sizeof words);
    for (unsigned i = 1; i < WORDS; i++)
        sum = mix(sum + words[i]);
    return sum;
}

static uint32_t pages_of(off64_t size)
{
    uint64_t pages = ((uint64_t)size + 4095) / 4096;

    return pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX;
}

static void write_record(unsigned entry, const struct counted *file, int fd)
{
    struct record record = {.device = file->device,
                            .inode = file->inode,
                            .pages = pages_of(file->size),
                            .handle = {.bytes = sizeof record.handle.data}};
    struct file_handle *handle = (struct file_handle *)(void *)&record.handle;
    uint64_t words[WORDS];
    int mount = 0;

    if (name_to_handle_at(fd, "", handle, &mount, AT_EMPTY_PATH) == -1) {
        atomic_store(&table->failure, errno);
        return;
    }
    record.handle.mount = mount;
    record.sum = sum_of(&record);
    memcpy(words, &record, sizeof words);
    for (unsigned i = 0; i < WORDS; i++)
        atomic_store_explicit(&table->records[entry][i], words[i], memory_order_relaxed);
}

static struct record read_record(const _Atomic uint64_t *from)
{
    uint64_t words[WORDS] = {0};
    struct record record;

    for (unsigned i = 0; i < WORDS; i++)
        words[i] = atomic_load_explicit(&from[i], memory_order_relaxed);
    memcpy(&record, words, sizeof record);
    return record;
}

/* ---- counting ---- */

/* True with a chance of weight / (heat + weight): "Randomized Admission Policy", Ben Basat,
 * Einziger, Friedman and Kassner, INFOCOM 2017. docs/design.md, "The hot set". */
static bool is_admitted(uint64_t key, uint32_t heat, uint32_t weight)
{
    static _Atomic uint64_t drawn;
    uint64_t number = atomic_fetch_add_explicit(&drawn, 0x9e3779b97f4a7c15, memory_order_relaxed);
    return mix(number + key + libc_time(CLOCK_REALTIME_COARSE)) % (heat + weight) < weight;
}

/* Replace the coldest entry's file. The new file takes over its heat, as an error. */
static void replace(struct bucket *bucket, uint64_t key, uint32_t weight, uint16_t step)
{
    unsigned way = coldest(bucket, step);
    uint64_t former = atomic_load_explicit(&bucket->keys[way], memory_order_relaxed);
    uint32_t heat = former != 0 ? unpack(atomic_load(&bucket->counts[way]), step).heat : 0;
    struct count count = {.heat = heat + weight, .error = heat, .step = step};

    if (is_admitted(key, heat, weight) &&
        atomic_compare_exchange_strong(&bucket->keys[way], &former, key))
        atomic_store(&bucket->counts[way], pack(count));
}

/* Add to an entry. At the second download, store the file's handle. */
static void add(struct bucket *bucket, unsigned way, uint32_t weight, uint16_t step,
                const struct counted *file)
{
    uint64_t word = atomic_load(&bucket->counts[way]);
    struct count count = unpack(word, step);
    bool asks = !count.asked;

    count.heat += weight;
    count.asked = true;
    /* one download is lost if two sessions add at the same time */
    if (atomic_compare_exchange_strong(&bucket->counts[way], &word, pack(count)) && asks)
        write_record((unsigned)(bucket - table->buckets) * WAYS + way, file, (int)(file - counted));
}

static void count_sent(const struct counted *file, uint64_t bytes)
{
    uint64_t size = (uint64_t)file->size, key = key_of(file->device, file->inode);
    uint32_t weight =
        bytes < size ? (uint32_t)((double)bytes / (double)size * HEAT_ONE) : (uint32_t)HEAT_ONE;
    struct bucket *bucket = bucket_of(key);
    unsigned way = find(bucket, key);
    uint16_t step = step_now();

    status_add(STATUS_SENT, bytes);
    if (status_file_is_kept(file->device, file->inode))
        status_add(STATUS_SENT_KEPT, bytes);
    if (weight == 0)
        return;
    if (way < WAYS)
        add(bucket, way, weight, step, file);
    else
        replace(bucket, key, weight, step);
}

void heat_policy(bool counts)
{
    table = counts ? status_heat() : NULL;
}

static struct counted *find_counted(int fd)
{
    struct counted *file = (unsigned)fd < DESCRIPTORS ? &counted[fd] : NULL;

    return file != NULL && atomic_load_explicit(&file->counts, memory_order_relaxed) ? file : NULL;
}

/* Do not count what the server opens as root: these are its own files, such as AuthUserFile. */
void heat_opened(int fd, const struct stat64 *status)
{
    if (table == NULL || (unsigned)fd >= DESCRIPTORS)
        return;
    struct counted *file = &counted[fd];
    file->device = status->st_dev;
    file->inode = status->st_ino;
    file->size = status->st_size;
    file->from = 0;
    atomic_store_explicit(&file->sent, 0, memory_order_relaxed);
    atomic_store_explicit(&file->counts, geteuid() != 0, memory_order_relaxed);
}

void heat_sent(int fd, uint64_t bytes)
{
    struct counted *file = find_counted(fd);

    if (file != NULL)
        atomic_fetch_add_explicit(&file->sent, bytes, memory_order_relaxed);
}

void heat_moved(int fd, off64_t offset)
{
    struct counted *file = find_counted(fd);

    if (file != NULL && offset >= 0)
        file->from = offset;
}

void heat_closing(int fd)
{
    struct counted *file = find_counted(fd);

    if (file == NULL || is_vfork_child())
        return;
    int saved = errno;
    uint64_t bytes = atomic_load_explicit(&file->sent, memory_order_relaxed);
    atomic_store_explicit(&file->counts, false, memory_order_relaxed);
    off64_t offset = bytes == 0 ? libc_next(lseek64)(fd, 0, SEEK_CUR) : 0;
    if (offset > file->from)
        bytes = (uint64_t)(offset - file->from);
    if (table != NULL && bytes > 0)
        count_sent(file, bytes);
    errno = saved;
}

void heat_reused(int fd)
{
    struct counted *file = find_counted(fd);

    if (file != NULL)
        atomic_store_explicit(&file->counts, false, memory_order_relaxed);
}

/* ---- the keeper ---- */

/* Ask again for a handle that was not stored, as its session was killed. Reset what has cooled
 * down, as its step comes round again after a year. @return false: no handle, or no heat */
static bool mend(_Atomic uint64_t *word, struct count count, bool stored)
{
    uint64_t former = atomic_load(word);

    if (count.heat == 0)
        count = (struct count){.step = count.step};
    else if (count.asked && !stored)
        count.asked = false;
    else
        return count.asked;
    if (former != 0)
        (void)atomic_compare_exchange_strong(word, &former, pack(count));
    return false;
}

size_t heat_list(struct heat_file *files, uint64_t *all)
{
    struct table *shared = status_heat();
    uint16_t step = step_now();
    size_t found = 0;

    *all = 0;
    for (unsigned entry = 0; shared != NULL && entry < HEAT_FILES; entry++) {
        struct bucket *bucket = &shared->buckets[entry / WAYS];
        uint64_t key = atomic_load(&bucket->keys[entry % WAYS]);
        if (key == 0)
            continue;
        _Atomic uint64_t *word = &bucket->counts[entry % WAYS];
        struct count count = unpack(atomic_load(word), step);
        struct record record = read_record(shared->records[entry]);
        *all += certain(count);
        if (mend(word, count, key == key_of(record.device, record.inode)))
            files[found++] = (struct heat_file){record.device, record.inode, certain(count),
                                                record.pages, entry};
    }
    return found;
}

bool heat_handle(const struct heat_file *file, struct handle *handle)
{
    const struct table *shared = status_heat();
    struct record record = read_record(shared->records[file->entry]);

    *handle = record.handle;
    return record.sum == sum_of(&record) && record.device == file->device &&
           record.inode == file->inode && handle->bytes > 0 && handle->bytes <= sizeof handle->data;
}

void heat_forget(const struct heat_file *file)
{
    struct table *shared = status_heat();

    atomic_store(&shared->buckets[file->entry / WAYS].counts[file->entry % WAYS], 0);
}

int heat_failure(void)
{
    const struct table *shared = status_heat();

    return shared != NULL ? atomic_load_explicit(&shared->failure, memory_order_relaxed) : 0;
}

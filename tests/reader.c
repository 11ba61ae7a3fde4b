/*
 * reader FILE START: read a file in the ways of a server, from START to its end in each, and write
 * the bytes to standard output. For other architectures: the reads use the names that the compiler
 * chose there.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

static char buffer[100000];

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

/* @return false: end of file */
static int print(ssize_t got)
{
    if (got < 0)
        give_up("read");
    if (write(STDOUT_FILENO, buffer, (size_t)got) != got)
        give_up("write");
    return got > 0;
}

static ssize_t read_parts(int fd)
{
    struct iovec parts[] = {
        {buffer, 1}, {buffer + 1, 7000}, {buffer + 7001, 0}, {buffer + 7001, 5000}};

    return readv(fd, parts, sizeof parts / sizeof parts[0]);
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    off_t start = (off_t)strtoll(arguments[2], NULL, 10), at = start;
    int fd = open(arguments[1], O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        give_up("open");
    if (lseek(fd, start, SEEK_SET) != start)
        give_up("lseek");
    while (print(read(fd, buffer, 10000)))
        ;
    for (ssize_t got = 1; got > 0 && print(got = pread(fd, buffer, sizeof buffer, at)); at += got)
        ;
    if (lseek(fd, start, SEEK_SET) != start)
        give_up("lseek");
    while (print(read_parts(fd)))
        ;
    int duplicate = dup(fd); /* shares the offset */
    if (lseek(fd, 0, SEEK_CUR) != lseek(duplicate, 0, SEEK_END) ||
        lseek(duplicate, start, SEEK_SET) != start || lseek(fd, 0, SEEK_CUR) != start ||
        close(fd) == -1)
        give_up("the duplicate is elsewhere");
    ssize_t sent = 1;
    for (at = start; sent > 0;)
        sent = sendfile(STDOUT_FILENO, duplicate, &at, 50000);
    if (sent == -1)
        give_up("sendfile");
    return close(duplicate) == 0 ? 0 : 1;
}

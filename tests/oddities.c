/*
 * oddities FILE NAME: do something that programs rarely do, with a file of at least 8 KiB, and
 * print the result. It must be the same with the library as without.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *name;
static atomic_bool stop;
static char buffer[4096];
static void *volatile nowhere = (void *)16; /* an address that the compiler can't know */

static int open_file(void)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    if (fd == -1) {
        perror(name);
        exit(1);
    }
    return fd;
}

static void *read_again_and_again(void *unused)
{
    static char mine[4096];

    while (!atomic_load(&stop)) {
        int fd = open_file();
        for (int i = 0; i < 20; i++) {
            if (read(fd, mine, 100) != 100)
                printf("a read failed: %s\n", strerror(errno));
        }
        printf("%s", lseek(fd, 0, SEEK_CUR) == 2000 ? "" : "elsewhere\n");
        close(fd);
    }
    return unused;
}

/* Each fork inherits what the other thread reads. */
static void fork_beside_a_reader(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, read_again_and_again, NULL);
    for (int i = 0; i < 500; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
}

static void *read_twice(void *unused)
{
    usleep(100000); /* the child of the vfork() has started */
    int fd = open_file();
    printf("%zd\n", read(fd, buffer, 64));
    usleep(400000); /* and has executed another program */
    printf("%zd, %d\n", read(fd, buffer, 64), (int)lseek(fd, 0, SEEK_CUR));
    return unused;
}

/* The vfork() child executes another program after its parent opened a file. */
static void vfork_beside_a_reader(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, read_twice, NULL);
    pid_t child = vfork();
    if (child == 0) {
        usleep(300000);
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    pthread_join(thread, NULL);
    waitpid(child, NULL, 0);
}

static void say(int number)
{
    printf("signal %d\n", number);
}

static void vfork_and_change_dispositions(void)
{
    struct sigaction action = {.sa_handler = say};

    sigaction(SIGSEGV, &action, NULL);
    pid_t child = vfork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        sigaction(SIGBUS, &action, NULL);
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
    raise(SIGSEGV);
    sigaction(SIGBUS, NULL, &action);
    printf("%d\n", action.sa_handler == SIG_DFL);
}

/* A bad address, with the old functions to handle, block and ignore signals. */
static void old_signals(void)
{
    int fd = open_file();

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    printf("%zd\n", read(fd, buffer, 100));
    printf("%d\n", sigset(SIGSEGV, say) == SIG_DFL);
    printf("%zd %d\n", read(fd, nowhere, 10), errno);
    raise(SIGSEGV);
    printf("%d\n", sigset(SIGSEGV, SIG_HOLD) == say);
    printf("%zd %d\n", read(fd, nowhere, 10), errno);
    printf("%d\n", sigset(SIGSEGV, say) == SIG_HOLD);
    printf("%d\n", sighold(SIGSEGV));
    printf("%zd %d\n", read(fd, nowhere, 10), errno);
    printf("%d\n", sigrelse(SIGSEGV));
    printf("%d\n", sigblock(1 << (SIGSEGV - 1)));
    printf("%zd %d\n", read(fd, nowhere, 10), errno);
    printf("%d\n", sigsetmask(0) == 1 << (SIGSEGV - 1));
    printf("%d\n", sigignore(SIGSEGV));
    printf("%zd %d\n", read(fd, nowhere, 10), errno);
    printf("%zd\n", read(fd, buffer, 100));
#pragma GCC diagnostic pop
}

/* The child of a server that keeps a listed file, without the handlers of pthread_atfork(3). */
static void fork_past_the_handlers(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    listen(fd, 1);
    sleep(1); /* for the keeper to map the file */
    fflush(stdout);
    if (_Fork() == 0) {
        for (int i = 0; i < 500; i++)
            (void)mmap(NULL, 64 << 10, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int file = open_file();
        ssize_t got = read(file, buffer, sizeof buffer);
        for (ssize_t i = 0; i < got; i++)
            printf("%02x", (unsigned char)buffer[i]);
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
}

static const struct oddity {
    const char *name;
    void (*happen)(void);
} oddities[] = {
    {"fork", fork_beside_a_reader},
    {"vfork", vfork_beside_a_reader},
    {"vfork-signals", vfork_and_change_dispositions},
    {"old-signals", old_signals},
    {"_Fork", fork_past_the_handlers},
};

int main(int count, char **arguments)
{
    for (size_t i = 0; count == 3 && i < sizeof oddities / sizeof oddities[0]; i++) {
        if (strcmp(arguments[2], oddities[i].name) != 0)
            continue;
        name = arguments[1];
        oddities[i].happen();
        return 0;
    }
    return 2;
}

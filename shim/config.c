#include "config.h"

#include <stdlib.h>
#include <string.h>

char *config_list_add(struct config_list *list, char *item)
{
    char **items = reallocarray(list->items, list->count + 1, sizeof *items);

    if (items == NULL || item == NULL) {
        free(item);
        list->items = items != NULL ? items : list->items;
        return NULL;
    }
    items[list->count++] = item;
    list->items = items;
    return item;
}

void config_list_copy(struct config_list *list, size_t count, char *const *items)
{
    for (size_t i = 0; i < count; i++)
        (void)config_list_add(list, strdup(items[i]));
}

void config_list_free(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct config_list){.count = 0};
}

void config_free(struct config *config)
{
    config_list_free(&config->files);
    config_list_free(&config->files_at);
    config_list_free(&config->notes);
    config_list_free(&config->errors);
    config_list_free(&config->variables);
    free(config->log);
    free(config->status_path);
    free(config->bindings);
    config->log = config->status_path = NULL;
    config->bindings = NULL;
    config->binding_count = 0;
}

static uint64_t bytes_of(const struct config_memory *memory, uint64_t machine)
{
    return memory->bytes > 0 ? (uint64_t)memory->bytes : machine / 100 * memory->percent;
}

uint64_t config_max_memory(const struct config *config, uint64_t machine)
{
    return bytes_of(&config->max_memory, machine);
}

uint64_t config_hot(const struct config *config, uint64_t machine)
{
    return bytes_of(&config->hot, machine);
}

/* ---- the host of a connection ---- */

/* An IPv4 address becomes ::ffff:a.b.c.d, as on a socket for both. */
bool config_address(const struct sockaddr *from, struct in6_addr *address, in_port_t *port)
{
    if (from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)from;
        *address = six->sin6_addr;
        *port = ntohs(six->sin6_port);
        return true;
    }
    if (from->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)from;
        *address = (struct in6_addr){.s6_addr = {[10] = 0xff, 0xff}};
        memcpy(&address->s6_addr[12], &four->sin_addr, sizeof four->sin_addr);
        *port = ntohs(four->sin_port);
        return true;
    }
    return false;
}

/* In the order in which ProFTPD 1.3.8 looks for the host of a connection. */
bool config_engine(const struct config *config, const struct sockaddr *local)
{
    const struct config_binding *any = NULL, *last = NULL;
    size_t on_port = 0;
    struct in6_addr address;
    in_port_t port;

    if (!config_address(local, &address, &port))
        return config->engine;
    for (size_t i = 0; i < config->binding_count; i++) {
        const struct config_binding *binding = &config->bindings[i];
        if (binding->port != port)
            continue;
        if (IN6_ARE_ADDR_EQUAL(&binding->address, &address))
            return binding->engine;
        if (any == NULL && IN6_IS_ADDR_UNSPECIFIED(&binding->address))
            any = binding;
        last = binding;
        on_port++;
    }
    if (any != NULL)
        return any->engine;
    return config->whole && on_port == 1 ? last->engine : config->engine;
}

bool config_engine_anywhere(const struct config *config)
{
    for (size_t i = 0; i < config->binding_count; i++) {
        if (config->bindings[i].engine)
            return true;
    }
    return config->engine;
}

bool config_is_hot(const struct config *config)
{
    return config_hot(config, UINT64_MAX) > 0;
}

bool config_keeps(const struct config *config)
{
    return (config->files.count > 0 || config_is_hot(config)) && config_engine_anywhere(config);
}

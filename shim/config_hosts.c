#include "config_hosts.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FTP_PORT = 21 };

static void add(struct config *config, const struct sockaddr *at, in_port_t port, bool engine)
{
    static const struct in6_addr any_ipv4 = {.s6_addr = {[10] = 0xff, 0xff}};
    struct config_binding binding = {.engine = engine};
    struct config_binding *bindings =
        reallocarray(config->bindings, config->binding_count + 1, sizeof *bindings);

    if (bindings == NULL)
        return;
    config->bindings = bindings;
    if (!config_address(at, &binding.address, &binding.port))
        return;
    if (IN6_ARE_ADDR_EQUAL(&binding.address, &any_ipv4))
        binding.address = in6addr_any;
    binding.port = port;
    bindings[config->binding_count++] = binding;
}

static int bind_name(struct config *config, const char *name, in_port_t port, bool engine)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char bare[INET6_ADDRSTRLEN];
    int failure =
        getaddrinfo(sscanf(name, "[%45[^]]]", bare) == 1 ? bare : name, NULL, &hints, &found);

    if (failure != 0)
        return failure;
    for (const struct addrinfo *each = found; each != NULL; each = each->ai_next)
        add(config, each->ai_addr, port, engine);
    freeaddrinfo(found);
    return 0;
}

static bool engine_of(const struct parser *parser, const struct host *host)
{
    return (host->engine != UNSET ? host->engine : parser->global.engine) == true;
}

static bool same(const struct config_binding *a, const struct config_binding *b)
{
    return a->port == b->port && IN6_ARE_ADDR_EQUAL(&a->address, &b->address);
}

/* Whether the first address of an earlier host is this one. */
static bool is_taken(const struct parser *parser, const struct config_binding *first)
{
    bool taken = same(&parser->own.first, first);

    for (size_t i = 0; i < parser->host_count && !taken; i++)
        taken = same(&parser->hosts[i].first, first);
    return taken;
}

/* @return false: the server doesn't serve this host */
static bool bind_host(struct parser *parser, struct host *host)
{
    struct config *config = parser->config;
    int port = host->port != UNSET ? host->port : parser->global.port;
    bool engine = engine_of(parser, host);
    size_t first = config->binding_count;

    if (port == 0)
        return false;
    port = port != UNSET ? port : FTP_PORT;
    for (size_t i = 0; i < host->addresses.count; i++) {
        const char *name = host->addresses.items[i];
        int failure = bind_name(config, name, (in_port_t)port, engine);
        if (failure != 0)
            parser_message(parser, &config->notes, host->at,
                           "'%s' can't be resolved (%s), and TransferMMapEngine is not set for it; "
                           "write its addresses",
                           name, gai_strerror(failure));
    }
    if (first == config->binding_count)
        return false;
    /* with its first address the whole host is left out */
    if (is_taken(parser, &config->bindings[first])) {
        config->binding_count = first;
        return false;
    }
    host->first = config->bindings[first];
    if (host->is_default)
        config->bindings[first].address = in6addr_any;
    return true;
}

void hosts_settle(struct parser *parser)
{
    struct config *config = parser->config;
    const struct host *fallback = &parser->own;
    char name[256];
    bool differ = false;

    config->engine = engine_of(parser, &parser->own);
    config->whole = parser->own.port != UNSET;
    config->use_sendfile =
        (parser->own.sendfile != UNSET ? parser->own.sendfile : parser->global.sendfile) != false;
    for (size_t i = 0; i < parser->host_count; i++)
        differ = differ || engine_of(parser, &parser->hosts[i]) != config->engine;
    if (!differ) /* and so no name is looked up without need */
        return;
    /* without DefaultAddress the server's own address is that of the machine's name */
    if (config->whole && parser->own.addresses.count == 0 && gethostname(name, sizeof name) == 0)
        config_list_add(&parser->own.addresses, strdup(name));
    (void)bind_host(parser, &parser->own);
    for (size_t i = 0; i < parser->host_count; i++) {
        struct host *host = &parser->hosts[i];
        if (bind_host(parser, host) && host->is_default && !fallback->is_default)
            fallback = host;
    }
    config->engine = engine_of(parser, fallback);
}

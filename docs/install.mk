# make install and make uninstall: what goes where, as file:directory.

share = $(PREFIX)/share
doc = $(share)/doc/libxfermmap

installed = \
    build/libxfermmap.so:$(LIBDIR) \
    build/xfermmap:$(PREFIX)/bin \
    docs/man/xfermmap.1:$(share)/man/man1 \
    docs/man/preload.conf.5:$(share)/man/man5 \
    docs/man/libxfermmap.8:$(share)/man/man8 \
    docs/completion/xfermmap:$(share)/bash-completion/completions \
    $(patsubst %,%:$(doc)/examples,$(wildcard docs/systemd/* docs/grafana/*)) \
    preload.conf.example:$(doc)/examples \
    README.md:$(doc) \
    LICENSE:$(doc) \
    $(patsubst %,%:$(doc)/docs,$(wildcard docs/*.md docs/*.json docs/*.svg))

directives = $(DESTDIR)$(SYSCONFDIR)/proftpd/preload.conf

# A directive file that is there stays. The loader is told of the library, so that LD_PRELOAD finds
# it by its name.
install: all
	@for file in $(installed); do \
	    mode=644; [ $${file%%:*} != build/xfermmap ] || mode=755; \
	    install -D -m $$mode -t "$(DESTDIR)$${file#*:}" $${file%%:*} || exit; \
	done
	@[ -e "$(directives)" ] || install -D -m 644 preload.conf.example "$(directives)"
	@[ -n "$(DESTDIR)" ] || ldconfig
	@echo "Installed; $(doc)/README.md says how to enable it"

# A directive file that was changed stays, too.
uninstall:
	@for file in $(installed); do name=$${file%%:*}; rm -f "$(DESTDIR)$${file#*:}/$${name##*/}"; done
	@! cmp -s preload.conf.example "$(directives)" || rm -f "$(directives)"
	@[ ! -e "$(directives)" ] || echo "$(directives) was changed, and stays"
	@rmdir "$(DESTDIR)$(doc)/examples" "$(DESTDIR)$(doc)/docs" "$(DESTDIR)$(doc)" 2>/dev/null || true
	@[ -n "$(DESTDIR)" ] || ldconfig

# The packaging is that of a Debian source package, but for its place.
deb: build/deb
	@tests/setup build deb
	rm -rf build/deb/source
	mkdir build/deb/source
	cp -a Makefile LICENSE README.md preload.conf.example shim tests docs build/deb/source
	mv build/deb/source/docs/debian build/deb/source/debian
	cd build/deb/source && dpkg-buildpackage -b -us -uc
	mkdir -p build/deb/tmp # lintian leaves files in there
	TMPDIR=$(CURDIR)/build/deb/tmp lintian --fail-on error build/deb/*.changes
	rm -r build/deb/tmp

build/deb:
	@mkdir -p $@

matrix:
	@tests/setup matrix
	@tests/matrix

machines:
	@tests/setup machines
	@tests/machines

scripts += tests/matrix tests/fresh tests/package tests/machines tests/mounts tests/session tests/units docs/completion/xfermmap

.PHONY: install uninstall deb matrix machines

"""django-scim2 in the smallest project that it works in: serve.py PORT TOKEN DATABASE."""

import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

PORT, TOKEN, DATABASE = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Caller:
    is_authenticated = True


def bearer(get_response):
    """The login in front of django-scim2, which is the project's matter."""

    def middleware(request):
        if request.headers.get("Authorization") == f"Bearer {TOKEN}":
            request.user = Caller()
        return get_response(request)

    return middleware


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


if __name__ == "__main__":
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        AUTH_USER_MODEL="people.User",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "people", "django_scim"],
        MIDDLEWARE=["serve.bearer"],
        ROOT_URLCONF="urls",
        SCIM_SERVICE_PROVIDER={
            "NETLOC": f"127.0.0.1:{PORT}",
            "SCHEME": "http",
            "AUTHENTICATION_SCHEMES": [{"type": "oauthbearertoken", "name": "Bearer token"}],
            "GROUP_MODEL": "people.models.Group",
        },
        SECRET_KEY="for a test",
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    sys.modules["serve"] = sys.modules["__main__"]
    make_server("127.0.0.1", PORT, get_wsgi_application(), handler_class=Quiet).serve_forever()

"""A real OpenID Connect provider (Django OAuth Toolkit), for people to sign in through.

`python -m tests.gateway.identity_provider PORT FOLDER CALLBACK` serves it on localhost, with PKCE
required, one client and the `PEOPLE` below.
"""

import os
import sys
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

CLIENT = "portalkeeper"
SECRET = "the-clients-secret-at-the-provider"
PASSWORD = "a long password"
PEOPLE = {
    "ann": {"groups": ["portal-administrators", "staff"], "employee_id": "W-1", "name": "Ann Lee"},
    "rob": {"groups": ["compliance"], "name": "Rob Stone", "email": "Rob.Stone@harbor.example"},
    "eve": {"groups": ["visitors"], "name": "Eve Other"},
    "bo": {"groups": ["staff"], "employee_id": "W-2", "name": "Bo Park"},
}
ROLES = {"portal-administrators": ["administrator"], "compliance": ["compliance", "operator"]}


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def configure(port: int, folder: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from django.conf import settings

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    form = (
        "<h1>Example sign-in</h1><form method=post>{% csrf_token %}{{ form.as_p }}"
        "<button>Log in</button></form>"
    )
    settings.configure(
        SECRET_KEY="only for tests",
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/provider.sqlite"}
        },
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "oauth2_provider",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "loaders": [
                        (
                            "django.template.loaders.locmem.Loader",
                            {"registration/login.html": form},
                        )
                    ],
                    "context_processors": ["django.template.context_processors.request"],
                },
            }
        ],
        LOGIN_URL="/login/",
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_ISS_ENDPOINT": f"http://localhost:{port}/o",
            "OIDC_RSA_PRIVATE_KEY": pem,
            "OIDC_RP_INITIATED_LOGOUT_ENABLED": True,
            "PKCE_REQUIRED": True,
            "SCOPES": {"openid": "id", "profile": "profile", "email": "email"},
            "OAUTH2_VALIDATOR_CLASS": "tests.gateway.provider_claims.Claims",
        },
    )


def fill(callback: str) -> None:
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from oauth2_provider.models import Application

    call_command("migrate", verbosity=0)
    for name in PEOPLE:
        User.objects.create_user(name, email=f"{name}@clinic.example", password=PASSWORD)
    Application.objects.create(
        client_id=CLIENT,
        client_secret=SECRET,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        redirect_uris=callback,
        post_logout_redirect_uris=callback.replace("/callback", ""),
        algorithm=Application.RS256_ALGORITHM,
        skip_authorization=True,
    )


def main(port: int, folder: str, callback: str) -> None:
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    configure(port, folder)
    import django

    django.setup()
    from django.contrib.auth.views import LoginView
    from django.core.wsgi import get_wsgi_application
    from django.urls import include, path

    fill(callback)
    urlpatterns[:] = [
        path("login/", LoginView.as_view()),
        path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    ]
    with make_server("localhost", port, get_wsgi_application(), Threaded, Quiet) as server:
        print("ready", flush=True)
        server.serve_forever()


urlpatterns: list[Any] = []

if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])

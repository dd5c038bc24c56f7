"""The models that django-scim2 asks of a project, as its documentation describes them, and nothing more."""

from django.contrib.auth.models import AbstractUser, Group as AuthGroup
from django.db import models
from django_scim.models import AbstractSCIMGroupMixin, AbstractSCIMUserMixin


class Group(AbstractSCIMGroupMixin):
    name = models.CharField(max_length=150)


class User(AbstractSCIMUserMixin, AbstractUser):
    scim_groups = models.ManyToManyField(Group, related_name="user_set")

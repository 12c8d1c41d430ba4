# Both load balancers, with one configuration for the two. The files are those of ../loadbalancer, in a module of yours.
node 'left', 'right' {
  class { 'failoverd':
    config            => 'puppet:///modules/site/failoverd.toml',
    keepalived_config => 'puppet:///modules/site/keepalived.conf',
    units             => ['certbot.timer'],
  }
}

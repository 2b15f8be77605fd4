use diptych::SharedPager;

fn send(pager: &SharedPager<4096>) {
    let guard = pager.read();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(guard));
    });
}

fn main() {}
